"""`mmsearch status`, `failures` and `verify`: what is stored, what is not, and is it sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import note, store_options

FORMAT = click.option("--format", "format_", type=click.Choice(["table", "json"]),
                      default="table", show_default=True, help="How to print.")  # fmt: skip


@click.command("status", short_help="Show what is stored.")
@store_options
@FORMAT
def status_command(store: Path, collection: str, format_: str) -> int:
    """Show what the store holds: all of its collections, with model, counts and size."""
    import json

    from index_store import Store
    from mmsearch.origins import is_offline, read_origins
    from mmsearch.uris import printable

    origins = read_origins(store)
    with Store.open(store, readonly=True) as opened:
        stats = [opened.collection(name).stats() for name in opened.collections()]
    rows: list[dict[str, Any]] = [
        {
            "collection": s.name, "images": s.images, "texts": s.texts, "failures": s.failures,
            "model": s.model, "space": s.space.name, "dim": s.space.dim, "replaced": s.dead,
            "bytes": s.bytes,
            "indexes": [{"kind": i.kind, "type": i.type, "rows": i.rows} for i in s.indexes],
            "folders": [
                {"path": f, "offline": is_offline(f)} for f in origins.of(s.name).folders
            ],
        }
        for s in stats
    ]  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "store": str(store), "collections": rows}, indent=2))
        return Exit.OK
    click.echo(f"store       {printable(str(store))}")
    for row in rows:
        indexes = ", ".join(f"{i['type']} over {i['rows']:,} {i['kind']}s" for i in row["indexes"])
        click.echo(
            f"\ncollection  {printable(row['collection'])}\n"
            f"pictures    {row['images']:,}\n"
            f"texts       {row['texts']:,}\n"
            f"failures    {row['failures']:,}\n"
            f"model       {row['model']}  ({row['space']}, {row['dim']}-d)\n"
            f"vectors     {row['bytes'] / 1e6:,.1f} MB, {row['replaced']:,} replaced or deleted\n"
            f"search      {indexes or 'exact'}"
        )
        for folder in row["folders"]:
            offline = "  (offline)" if folder["offline"] else ""
            click.echo(f"folder      {printable(folder['path'])}{offline}")
    return Exit.OK


@click.command("failures", short_help="List the files that could not be indexed.")
@store_options
@FORMAT
def failures_command(store: Path, collection: str, format_: str) -> int:
    """List the files that could not be indexed, each with the reason.

    They are tried again when they change, or with `mmsearch index --retry`.
    """
    from index_store import Store
    from mmsearch.cli.output import write_rows

    with Store.open(store, readonly=True) as opened:
        failures = opened.collection(collection).failures()
    rows = [{"key": f.key, "reason": f.reason} for f in failures]
    write_rows(rows, format_, name="failures")
    return Exit.OK


@click.command("verify", short_help="Look for damage in the store.")
@store_options
@click.option("--full", is_flag=True, help="Compare every row and vector with its checksum.")
@FORMAT
def verify_command(store: Path, collection: str, full: bool, format_: str) -> int:
    """Look for damage in the store; nothing is changed.

    Checks the database, and sizes, headers and hashes of files; all collections. Exits with 3
    if something is wrong.
    """
    from index_store import Store
    from mmsearch.cli.output import write_rows

    with Store.open(store, readonly=True) as opened:
        problems = opened.verify(full=full)
    write_rows([p.as_dict() for p in problems], format_, name="problems")
    note(f"{len(problems)} problems" if problems else "no damage found")
    return Exit.NO_INDEX if problems else Exit.OK
