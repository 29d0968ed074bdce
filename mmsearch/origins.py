"""Which folders a store's collections are made of, and how fast that went: beside the database.

A convenience, not a truth: without this file all that is lost is which folder a missing picture
belongs to, and the estimate of `--dry-run`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmsearch.files import write_json
from mmsearch.uris import path_of, uri_of

FILE = "origins.json"
PORTABLE = ".mmsearch"  # the store of a folder that it lies in


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one collection. folders: listed in full; rate: pictures embedded a second, or None."""

    folders: tuple[str, ...] = ()
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Origins:
    """Of all collections of a store. place: where a portable store's folder was, else ""."""

    collections: Mapping[str, Origin] = field(default_factory=dict)
    place: str = ""

    def of(self, name: str) -> Origin:
        return self.collections.get(name, Origin())


def read_origins(store: Path) -> Origins:
    """Return what is known of a store; nothing if there is no file or it is damaged."""
    try:
        fields: Any = json.loads((store / FILE).read_bytes())
        collections = {
            name: Origin(tuple(path_of(uri) for uri in o["folders"]), o["rate"])
            for name, o in fields["collections"].items()
        }
        return Origins(collections, path_of(fields["place"]) if fields["place"] else "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Origins()


def write_origins(store: Path, origins: Origins) -> None:
    """Write the file in one step.

    Raises:
        OSError: it cannot be written.
    """
    value = {
        "schema": 1,
        "place": uri_of(origins.place) if origins.place else "",
        "collections": {
            name: {"folders": [uri_of(f) for f in o.folders], "rate": o.rate}
            for name, o in origins.collections.items()
        },
    }
    write_json(store / FILE, value)


def remember(
    store: Path, name: str, *, folders: Sequence[str] = (), rate: float | None = None
) -> None:
    """Add folders to those of a collection; keep its rate unless there is a new one.

    Raises:
        OSError: it cannot be written.
    """
    known = read_origins(store)
    before = known.of(name)
    origin = Origin(tuple(dict.fromkeys([*before.folders, *folders])), rate or before.rate)
    after = replace(known, collections={**known.collections, name: origin})
    if after != known:
        write_origins(store, after)


def set_place(store: Path, folder: str) -> None:
    """Remember in which folder a portable store lies.

    Raises:
        OSError: it cannot be written.
    """
    known = read_origins(store)
    if known.place != folder:
        write_origins(store, replace(known, place=folder))


def copy_origins(store: Path, copy: Path) -> None:
    """Tell a copy of the store which folders it is made of; where it lies is its own affair.

    Raises:
        OSError: it cannot be written.
    """
    known = replace(read_origins(store), place="")
    if known != Origins():
        write_origins(copy, known)


def forget_folders(store: Path, name: str, below: Sequence[str]) -> None:
    """Forget folders of a collection that are not there, at or below these; of none given: all.

    Raises:
        OSError: it cannot be written.
    """
    known = read_origins(store)
    origin = known.of(name)
    kept = tuple(
        f for f in origin.folders
        if Path(f).is_dir() or (below and not any(is_below(f, b) for b in below))
    )  # fmt: skip
    if kept != origin.folders:
        collections = {**known.collections, name: replace(origin, folders=kept)}
        write_origins(store, replace(known, collections=collections))


def moved(store: Path, old: str, new: str) -> None:
    """Give the folders at and below `old` their place below `new`.

    Raises:
        OSError: it cannot be written.
    """
    known = read_origins(store)

    def place(folder: str) -> str:
        if not is_below(folder, old):
            return folder
        return os.path.normpath(os.path.join(new, os.path.relpath(folder, old)))  # noqa: PTH118

    collections = {
        name: replace(o, folders=tuple(place(f) for f in o.folders))
        for name, o in known.collections.items()
    }
    if collections != known.collections:
        write_origins(store, replace(known, collections=collections))


def is_below(path: str, folder: str) -> bool:
    """Return whether a path is in a folder at any depth, or is that folder."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def is_offline(folder: str) -> bool:
    """Return whether a folder of pictures is not there: no folder, or an empty mount point."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return not Path(folder).is_dir()


def is_away(path: str, folders: Sequence[str]) -> bool:
    """Return whether a file that is not there is on a drive that is not there: else it is gone.

    Args:
        folders: of its collection. If it is in none of them, an empty folder on its way says
            so: what a mount point is without its drive.
    """
    for folder in sorted(folders, key=len, reverse=True):
        if is_below(path, folder):
            return is_offline(folder)
    parent = Path(path).parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    return is_offline(str(parent)) or parent == parent.parent
