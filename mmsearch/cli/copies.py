"""`mmsearch snapshot`, `restore`, `export`, `import`: a store kept twice, or taken elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import is_terminal, note, store_option
from mmsearch.cli.upkeep import QUIET

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("snapshot", short_help="Write a copy of the store, as of this moment.")
@click.argument("dest", type=FOLDER, metavar="DEST")
@click.option("--copy", is_flag=True,
              help="Copy vectors too, instead of sharing their files: slower, but damage to the "
              "one is none to the other. Always so on another disk.")  # fmt: skip
@QUIET
@store_option
def snapshot_command(dest: Path, copy: bool, quiet: bool, store: Path) -> int:
    """Write a copy of the store, as of this moment, into the new folder DEST.

    An indexing run may go on meanwhile. The copy can be searched (--store DEST) and restored,
    not written to.
    """
    from tqdm import tqdm

    from index_store.copies import snapshot

    with tqdm(unit="B", unit_scale=True, disable=_hidden(quiet)) as bar:
        snapshot(store, dest, links=not copy, progress=bar.update)
    _tell_origins(store, dest)
    note(f"snapshot in {dest}")
    return Exit.OK


@click.command("restore", short_help="Make a snapshot the store.")
@click.argument("src", type=FOLDER, metavar="SRC")
@click.option("--replace", is_flag=True,
              help="Move the store that is there aside (to NAME.before-DATE) first.")  # fmt: skip
@QUIET
@store_option
def restore_command(src: Path, replace: bool, quiet: bool, store: Path) -> int:
    """Make the snapshot SRC the store, every checksum compared.

    SRC stays. A damaged SRC is refused, and the store that is there stays as it is.
    """
    from tqdm import tqdm

    from index_store.copies import restore

    with tqdm(unit="B", unit_scale=True, disable=_hidden(quiet)) as bar:
        aside = restore(src, store, replace=replace, progress=bar.update)
    _tell_origins(src, store)
    note(f"restored to {store}" + (f"; what was there is in {aside}" if aside else ""))
    return Exit.OK


@click.command("export", short_help="Write all items and vectors as Parquet files.")
@click.argument("dest", type=FOLDER, metavar="DIR")
@QUIET
@store_option
def export_command(dest: Path, quiet: bool, store: Path) -> int:
    """Write all items and vectors as Parquet files, with a manifest, into the new folder DIR.

    All collections, as of this moment. Needs the extra: parquet.
    """
    from tqdm import tqdm

    from mmsearch.transfer import export

    with tqdm(unit=" items", disable=_hidden(quiet)) as bar:
        items = export(store, dest, progress=bar.update)
    note(f"{items:,} items exported to {dest}")
    return Exit.OK


@click.command("import", short_help="Store what an export holds.")
@click.argument("src", type=FOLDER, metavar="DIR")
@click.option("--only", multiple=True, metavar="NAME",
              help="Only this collection (may be given several times).")  # fmt: skip
@QUIET
@store_option
def import_command(src: Path, only: tuple[str, ...], quiet: bool, store: Path) -> int:
    """Store what an export holds; the store is made if there is none.

    All hashes are compared before anything is stored. Items are inserted or replaced by key;
    run again, it goes on where it was. Needs the extra: parquet.
    """
    from tqdm import tqdm

    from index_store import Store
    from mmsearch.transfer import import_, items_in

    total = items_in(src, only)  # before the store: a mistyped name leaves no empty one
    with (
        Store.open(store, create=True) as opened,
        tqdm(unit=" items", total=total, disable=_hidden(quiet)) as bar,
    ):
        reports = import_(src, opened, only=only, progress=bar.update)
        for report in reports:
            for kind in ("image", "text"):
                opened.collection(report.collection).build_index(kind)
    for r in reports:
        note(f"{r.collection}: {r.added:,} added, {r.updated:,} updated, {r.unchanged:,} unchanged")
    return Exit.OK


def _tell_origins(store: Path, copy: Path) -> None:
    from mmsearch.origins import copy_origins

    try:
        copy_origins(store, copy)
    except OSError as error:
        note(f"the folders could not be noted beside the copy: {error.strerror or error}")


def _hidden(quiet: bool) -> bool | None:
    return True if quiet or not is_terminal() else None
