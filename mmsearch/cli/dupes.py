"""`mmsearch dupes`: pictures that are there more than once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import (
    build_filter,
    filter_options,
    is_terminal,
    note,
    store_options,
    threads_option,
)

if TYPE_CHECKING:
    from mmsearch.organise.duplicates import Duplicates, Member


@click.command("dupes", short_help="Find pictures that are there more than once.")
@filter_options
@click.option("--exact", is_flag=True, help="Only the same bytes: nothing is opened.")
@click.option("--vectors", is_flag=True,
              help="Compare vectors alone, no pixels: fast, files need not be there, but other "
              "pictures of the same scene count as copies.")  # fmt: skip
@click.option("--alike", type=Between(0, 1, min_open=True), metavar="X",
              help="From how alike on two pictures are one [default: 0.75; of vectors "
              "0.95].")  # fmt: skip
@click.option("--format", "format_", default="table", show_default=True,
              type=click.Choice(["table", "json", "jsonl", "paths"]),
              help="jsonl: a line a group; paths: all but the first of each group.")  # fmt: skip
@click.option("-0", "--null", is_flag=True, help="Print paths ended by NUL, for xargs -0.")
@threads_option
@store_options
def dupes_command(
    where: str | None, paths: tuple[str, ...], exact: bool, vectors: bool, alike: float | None,
    format_: str, null: bool, threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Find pictures that are there more than once.

    Told apart: the same file (byte for byte), the same pixels (written anew without loss, or
    with other metadata), and near: scaled, recoded, cropped to no less than about 70 % of a side,
    mirrored, brightened or in grey. The first of a group has the most pixels. Only what is
    indexed is compared; nothing is deleted.

    \b
    mmsearch dupes
    mmsearch dupes --exact -0 | xargs -0 -r ls -l    all but one of each

    Exits with 1 if there are none.
    """
    if exact and (vectors or alike is not None):
        raise click.UsageError("--exact compares bytes: it takes neither --vectors nor --alike")
    condition = build_filter(where, paths)
    from index_store import Store
    from mmsearch.organise.duplicates import find_duplicates

    with Store.open(store, readonly=True) as opened:
        found = find_duplicates(
            opened.collection(collection), where=condition, near=not exact, pixels=not vectors,
            alike=alike, threads=threads, progress=_progress(),
        )  # fmt: skip
    _write(found, "paths" if null else format_, null)
    extra = sum(len(g) - 1 for g in found.groups)
    groups = "1 group" if len(found.groups) == 1 else f"{len(found.groups):,} groups"
    note(f"{extra:,} of {found.pictures:,} pictures are copies, in {groups}")
    if found.unread:
        note(f"{found.unread:,} pictures could not be opened and were not compared; "
             "--vectors needs no files")  # fmt: skip
    return Exit.OK if found.groups else Exit.NO_HITS


def _progress() -> Callable[[int, int], None] | None:
    if not is_terminal():
        return None

    def show(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            click.echo(f"\rcomparing {done:,} of {total:,}", err=True, nl=done == total)

    return show


def _write(found: Duplicates, format_: str, null: bool) -> None:
    from mmsearch.cli.output import item_path, write_paths
    from mmsearch.uris import printable

    if format_ == "paths":
        copies = (item_path(m.item) or m.item.key for g in found.groups for m in g[1:])
        write_paths(copies, null=null)
    elif format_ == "json":
        groups = [[_as_dict(m) for m in g] for g in found.groups]
        click.echo(json.dumps({"schema": 1, "groups": groups, "unread": found.unread}, indent=2))
    else:
        for n, group in enumerate(found.groups, start=1):
            if format_ == "jsonl":
                click.echo(json.dumps([_as_dict(m) for m in group]))
                continue
            for m in group:
                what = f"near {m.likeness:.2f}" if m.relation == "near" else m.relation
                size = "x".join(str(m.item.meta.get(s, "?")) for s in ("width", "height"))
                where = printable(item_path(m.item) or m.item.key)
                click.echo(f"{n:>4}  {what:<11}  {size:>9}  {where}")


def _as_dict(member: Member) -> dict[str, Any]:
    from mmsearch.cli.output import item_path

    return {
        "key": member.item.key, "path": item_path(member.item), "relation": member.relation,
        "likeness": round(member.likeness, 4), "width": member.item.meta.get("width"),
        "height": member.item.meta.get("height"),
    }  # fmt: skip
