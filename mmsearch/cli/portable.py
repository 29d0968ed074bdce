"""Collections that lie beside their pictures, in FOLDER/.mmsearch, and move with the folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from mmsearch.cli.options import is_default, note
from mmsearch.origins import PORTABLE


def portable_store(sources: Sequence[str]) -> Path:
    """Return where the portable store of a folder is.

    Raises:
        click.UsageError: it is not one folder, or another store was asked for.
    """
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        raise click.UsageError("--portable takes one folder")
    if not is_default("store"):
        raise click.UsageError("--portable says where the store is; leave out --store")
    return Path(os.path.realpath(sources[0])) / PORTABLE


def follow(store: Path) -> None:
    """Give the pictures of a portable store their new names if its folder has moved.

    Where the store cannot be written to (a disc, a card that is locked), this is said, and the
    old names stay.

    Raises:
        StoreError: it is damaged, of a newer version, or another process is writing to it.
    """
    from mmsearch.origins import moved, read_origins, set_place

    before, now = read_origins(store).place, os.path.realpath(store.parent)
    if not before or before == now:
        return
    from index_store import Store
    from index_store.errors import StoreReadOnly
    from mmsearch.moving import move_root
    from mmsearch.uris import printable

    try:
        with Store.open(store) as opened:
            for name in opened.collections():
                move_root(opened.collection(name), before, now)
        moved(store, before, now)
        set_place(store, now)
    except (StoreReadOnly, OSError) as error:
        note(f"the folder was at {printable(before)}, and its pictures keep these names: {error}")
        return
    note(f"the folder has moved here from {printable(before)}; its pictures have their new names")
