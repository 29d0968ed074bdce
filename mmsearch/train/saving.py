"""Tensors on the disk, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mmsearch.errors import BadSource
from mmsearch.files import write_json, write_whole


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
