"""`mmsearch prune`: forget pictures whose files are gone."""

from __future__ import annotations

import os
from pathlib import Path

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import note, store_options


@click.command("prune", short_help="Forget pictures whose files are gone.")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--dry-run", is_flag=True, help="List them, forget nothing.")
@click.option(
    "--offline", is_flag=True, help="Also those on a drive, or below a folder, that is not there."
)
@click.option("--format", "format_", type=click.Choice(["table", "json", "paths"]),
              default="table", show_default=True, help="How to print.")  # fmt: skip
@store_options
def prune_command(
    paths: tuple[str, ...], dry_run: bool, offline: bool, format_: str, store: Path,
    collection: str,
) -> int:  # fmt: skip
    """Forget pictures whose files are gone, with their captions.

    All of the collection, or those at or below PATH. This looks at every picture that is indexed,
    also at those that were named one by one or in a table, which `mmsearch index` leaves alone. A
    picture whose whole folder is not there is kept: its drive may not be plugged in.
    """
    import json

    from index_store import Store
    from mmsearch.cli.output import write_paths
    from mmsearch.origins import forget_folders, read_origins
    from mmsearch.pruning import forget, gone
    from mmsearch.uris import path_of, printable

    with Store.open(store, readonly=dry_run) as opened:
        chosen = opened.collection(collection)
        below = [os.path.realpath(path) for path in paths]
        found = gone(chosen, read_origins(store).of(collection).folders, below or None)
        lost = [*found.lost, *(found.away if offline else ())]
        if lost and not dry_run:
            forget(chosen, [item.key for item in lost])
        if offline and not dry_run:
            forget_folders(store, collection, below)
    kept = 0 if offline else len(found.away)
    if format_ == "json":
        keys = [item.key for item in lost]
        whole = {"schema": 1, "forgotten": keys, "offline": kept, "dry_run": dry_run}
        click.echo(json.dumps(whole, indent=2))
    elif format_ == "paths":
        write_paths((path_of(item.uri) for item in lost), null=False)
    elif dry_run:
        for item in lost:
            click.echo(printable(path_of(item.uri)))
    would = "would be forgotten" if dry_run else "forgotten"
    note(f"{len(lost):,} pictures {would}" + (f", {kept:,} offline are kept" if kept else ""))
    return Exit.OK
