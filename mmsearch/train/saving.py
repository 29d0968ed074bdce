"""Files that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from index_store.disk import sync_folder
from mmsearch.errors import BadSource


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside, flush it to the disk, and put it in place in one step.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts in one step.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, lambda file: torch.save(state, file))


def read_state(path: Path) -> dict[str, Any] | None:
    """Return what `write_state` wrote; None if nothing is there. Runs no code of the file's.

    Raises:
        BadSource: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle each raise their own
        raise BadSource(f"{path} is damaged ({error}); remove it to start again") from error
    return state


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside, flush its files, and put it in place of the one that was there.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(part)
    for file in part.rglob("*"):
        if file.is_file():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    sync_folder(path.parent)


def claim_folder(
    marker: Path,
    facts: dict[str, Any],
    *,
    what: str,
    changed: Callable[[dict[str, Any]], Sequence[str]],
    forget: Sequence[str] = (),
) -> None:
    """Make a folder a run's own, or see that it is: a JSON file in it says whose it is.

    Args:
        marker: that file.
        facts: what to write; "identity" must be equal for a run to go on.
        what: the sort of run, for the messages.
        changed: names the settings in which the facts found differ.
        forget: files beside the marker to remove before, if there is a marker.

    Raises:
        BadSource: the folder holds another run, or other things.
        OSError: it cannot be written.
    """
    folder = marker.parent
    if marker.exists() and forget:
        for name in forget:
            (folder / name).unlink(missing_ok=True)
    elif marker.exists():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found["identity"] != facts["identity"]:
            names = ", ".join(changed(found)) or "the base or the pairs"
            raise BadSource(
                f"{folder} holds a {what} of other settings ({names}); give another --out, or "
                "--restart to forget it"
            )
        return
    elif folder.exists() and any(folder.iterdir()):
        raise BadSource(f"{folder} is not empty and holds no {what}; give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(marker, facts)
