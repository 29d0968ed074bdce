"""Whether a hit's file can be opened now: there, gone, or on a drive that is not there."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import click

from mmsearch.origins import is_away, read_origins


def presence(path: str) -> str:
    """Return "ok", "missing" or "offline" for a hit's file; "ok" for a hit that has none."""
    if not path or os.path.lexists(path):
        return "ok"
    context = click.get_current_context(silent=True)
    params = context.params if context else {}
    folders = _folders(params.get("store"), params.get("collection") or "default")
    return "offline" if is_away(path, folders) else "missing"


def marked(shown: str, path: str) -> str:
    """Return a line for the eye, with what keeps the file from being opened."""
    state = presence(path)
    return shown if state == "ok" else f"{shown}  ({state})"


@cache
def _folders(store: Path | None, collection: str) -> tuple[str, ...]:
    return read_origins(store).of(collection).folders if store else ()
