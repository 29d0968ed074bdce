"""A folder of pictures: everything below it, one directory's names in memory at a time."""

# os.path, not pathlib: these lines run for every one of a million files.
# ruff: noqa: PTH112, PTH113, PTH116, PTH118

from __future__ import annotations

import os
import stat as modes
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmsearch.errors import BadSource
from mmsearch.isolation import is_installed
from mmsearch.readers.captions import caption_file, captions_beside
from mmsearch.readers.containers import found_inside, kind_of
from mmsearch.readers.formats import RAW, REFUSED, is_junk, is_picture, suffix_of
from mmsearch.readers.ignore import IGNORE_FILE, BadPattern, Rules, rules_of
from mmsearch.readers.inside import raw_sample
from mmsearch.readers.samples import picture, real_folder, reason_of
from mmsearch.readers.table import NoColumns, Row, rows_by_picture, spelling
from mmsearch.types import Sample, Skipped
from mmsearch.uris import key_of, stamp_of, uri_of

# In the root folder, the first that is there: rows of (file name, caption, ...).
TABLES = tuple(f"{name}.{suffix}" for name in ("captions", "metadata")
               for suffix in ("csv", "tsv", "jsonl"))  # fmt: skip


@dataclass(slots=True)
class _Listing:
    """The names in one directory that matter. Names, not DirEntry: a quarter of the memory."""

    pictures: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    containers: list[tuple[str, str]] = field(default_factory=list)  # with their kind
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # to folders
    texts: dict[str, str] = field(default_factory=dict)  # "photo" -> "photo.TXT"
    sidecars: dict[str, str] = field(default_factory=dict)  # "photo" -> "photo.XMP"
    has_rules: bool = False  # a .mmsearchignore

    def without(self, rules: Rules, directory: str) -> _Listing:
        """Return what the user doesn't want left out."""
        if not rules.always and not rules.layers:
            return self

        def kept(names: list[str], folder: bool = False) -> list[str]:
            below = ((n, os.path.join(directory, n)) for n in names)
            return [n for n, path in below if not rules.leave_out(path, folder=folder)]

        return replace(
            self, pictures=kept(self.pictures), refused=kept(self.refused),
            containers=[(n, k) for n, k in self.containers if kept([n])],
            folders=kept(self.folders, True), links=kept(self.links, True),
        )  # fmt: skip


def read_folder(
    folder: str, *, follow_links: bool = False, exclude: Sequence[str] = (),
    inside: Collection[str] = (), within: str | None = None,
) -> Iterator[Sample | Skipped]:  # fmt: skip
    """Yield the pictures below a folder in a fixed order; none is opened.

    The folder itself is resolved, links below it are passed over. A folder's own pictures
    come first, sorted by name, then those inside its other files, then its folders. Hidden and
    junk directories are passed over, hidden files are not. Files that are no pictures are passed
    over, refused picture formats are yielded as Skipped (a raw file beside its exported picture
    is passed over; others are read where the extra `raw` is installed). What
    vanishes meanwhile, sockets, pipes and devices are no pictures.

    A folder that cannot be read, or the root should it vanish, is yielded as Skipped with a
    key that ends in "/": nothing is known about what is below it.

    Args:
        folder: the root.
        follow_links: follow symbolic links to files and folders; each folder is read once,
            and under its real path if that is below the root.
        exclude: patterns in gitignore's syntax, relative to the root, of what is left out;
            besides what the `.mmsearchignore` files of the folders say.
        inside: kinds of files (`containers.KINDS`) whose pictures are read, too.
        within: only what is below this folder, which is below the root; its name is resolved.

    Raises:
        BadPattern: one of `exclude` is no pattern. In a file it is yielded as Skipped.
        MissingExtra: the library for one of `inside` is not installed.
    """
    root = real_folder(folder)
    rules = rules_of(root, exclude)
    rows, trouble = _table(root)
    if trouble is not None:
        yield trouble
    for directory, listing in _walk(root, follow_links, rules, within, inside):
        if isinstance(listing, Skipped):
            yield listing
        elif isinstance(listing, OSError):
            reason = f"the folder cannot be read: {reason_of(listing)}"
            yield Skipped(_folder_key(directory), uri_of(directory), reason)
        else:
            yield from _pictures(root, directory, listing, rows, follow_links)
            yield from _refused(root, directory, listing, rows)
            for name, kind in sorted(listing.containers):
                yield from found_inside(os.path.join(directory, name), kind)
    if not os.path.isdir(root):  # an unplugged drive: what wasn't listed isn't deleted
        reason = "the folder vanished while it was read"
        yield Skipped(_folder_key(root), uri_of(root), reason)


def _folder_key(directory: str) -> str:
    return key_of(directory).rstrip("/") + "/"


def _walk(
    root: str, follow_links: bool, rules: Rules, within: str | None, inside: Collection[str]
) -> Iterator[tuple[str, _Listing | OSError | Skipped]]:
    """Yield the directories and what is in them, real ones before linked ones."""
    stack = [(root, rules)]
    links = deque[tuple[str, Rules]]()
    if within is not None and within != root:
        stack = _way_down(root, within, rules)
    seen: set[tuple[int, int]] = set()
    while stack or links:
        directory, rules = stack.pop() if stack else links.popleft()
        listing = _Listing()
        try:
            if follow_links:
                stat = os.stat(directory)
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
            with os.scandir(directory) as entries:
                for entry in entries:
                    _sort_in(entry, listing, follow_links, inside)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield directory, error  # then what was listed before a disk failed
        if listing.has_rules:
            rules, trouble = _with_file(rules, directory)
            if trouble:
                yield directory, trouble
        listing = listing.without(rules, directory)
        yield directory, listing
        below = sorted(listing.folders, reverse=True)
        stack += ((os.path.join(directory, name), rules) for name in below)
        links += ((os.path.join(directory, name), rules) for name in sorted(listing.links))


def _way_down(root: str, within: str, rules: Rules) -> list[tuple[str, Rules]]:
    """Return the folder `within` with the rules on the way to it; nothing if they leave it out."""
    directory = root
    for name in Path(within).relative_to(root).parts:
        if os.path.isfile(os.path.join(directory, IGNORE_FILE)):
            rules, _ = _with_file(rules, directory)
        directory = os.path.join(directory, name)
        if is_junk(name) or rules.leave_out(directory, folder=True):
            return []
    return [(within, rules)]


def _with_file(rules: Rules, directory: str) -> tuple[Rules, Skipped | None]:
    """Return the rules with those of the directory's file; or as they were, and the trouble."""
    path = os.path.join(directory, IGNORE_FILE)
    try:
        return rules.and_file(directory), None
    except BadPattern as error:
        reason = str(error)
    except OSError as error:
        reason = reason_of(error)
    return rules, Skipped(key_of(path), uri_of(path), f"nothing is left out: {reason}")


def _sort_in(
    entry: os.DirEntry[str], listing: _Listing, follow_links: bool, inside: Collection[str]
) -> None:
    name = entry.name
    if entry.is_dir(follow_symlinks=False):
        if not is_junk(name):
            listing.folders.append(name)
    elif entry.is_file(follow_symlinks=follow_links):
        suffix = suffix_of(name)
        kind = kind_of(name) if inside else None
        if kind in inside and kind:
            listing.containers.append((name, kind))
        if suffix == ".txt":
            listing.texts[name[:-4]] = name
        elif suffix == ".xmp":
            listing.sidecars[name[:-4]] = name
        elif is_picture(name):
            listing.pictures.append(name)
        elif suffix in REFUSED and kind not in inside:
            listing.refused.append(name)
        elif name == IGNORE_FILE:
            listing.has_rules = True
    elif follow_links and entry.is_dir() and not is_junk(name):
        listing.links.append(name)


def _pictures(
    root: str, directory: str, listing: _Listing, rows: Mapping[str, Row], follow_links: bool
) -> Iterator[Sample | Skipped]:
    listing.pictures.sort()
    for name in listing.pictures:
        path = os.path.join(directory, name)
        try:
            stat = os.stat(path, follow_symlinks=follow_links)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Skipped(key_of(path), uri_of(path), reason_of(error))
            continue
        if not modes.S_ISREG(stat.st_mode):
            continue
        told, trouble = _told(root, directory, name, listing, rows)
        if trouble:
            yield trouble
        yield picture(path, stat, **told)


def _told(
    root: str, directory: str, name: str, listing: _Listing, rows: Mapping[str, Row]
) -> tuple[dict[str, Any], Skipped | None]:
    """Return what the files beside a picture and the root's table say of it, as `picture` takes
    it; and what could not be read."""
    captions: tuple[str, ...] = ()
    own, trouble = True, None
    beside = caption_file(name, listing.texts)
    if beside is not None:
        text = os.path.join(directory, beside)
        try:
            captions = captions_beside(text)
        except FileNotFoundError:
            pass
        except OSError as error:
            trouble = Skipped(key_of(text), uri_of(text), f"captions: {reason_of(error)}")
            own = False  # what it says is not known
    told = caption_file(name, listing.sidecars)
    sidecar = os.path.join(directory, told) if told else ""
    below = os.path.join(directory, name)[len(root) :].lstrip(os.sep)
    row = rows.get(spelling(below)) if rows else None
    if row:  # a folder above may have no such table, and knows nothing of its captions
        captions, own = (*captions, *row.texts), False
    extra = row.extra if row else None
    return {"captions": captions, "extra": extra, "sidecar": sidecar, "own": own}, trouble


def _refused(
    root: str, directory: str, listing: _Listing, rows: Mapping[str, Row]
) -> Iterator[Sample | Skipped]:
    stems = {n.rpartition(".")[0] for n in listing.pictures} if listing.refused else set()
    raw = bool(listing.refused) and is_installed("raw")
    for name in sorted(listing.refused):
        stem, _, _ = name.rpartition(".")
        suffix = suffix_of(name)
        if suffix in RAW and (stem in stems or name in stems):
            continue
        path = os.path.join(directory, name)
        try:
            stat = os.stat(path)
        except OSError:
            continue
        if raw and suffix in RAW:
            told, trouble = _told(root, directory, name, listing, rows)
            if trouble:
                yield trouble
            yield raw_sample(path, stat, **told)
        else:
            yield Skipped(key_of(path), uri_of(path), REFUSED[suffix], stamp_of(stat))


def _table(root: str) -> tuple[Mapping[str, Row], Skipped | None]:
    """Return the rows of the root's caption table by the picture's path below the root.

    With them, what was wrong with the table, if anything.
    """
    for name in TABLES:
        path = os.path.join(root, name)
        if not os.path.isfile(path):
            continue
        try:
            return {spelling(r.name): r for r in rows_by_picture(path)}, None
        except BadSource as error:
            # metadata.csv is a common name: only if it names pictures was it meant for us.
            if name.startswith("metadata") and isinstance(error, NoColumns):
                continue
            return {}, Skipped(key_of(path), uri_of(path), f"captions: {error}")
    return {}, None
