"""Tensors on the disk, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmsearch.errors import BadSource
from mmsearch.files import write_whole


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
