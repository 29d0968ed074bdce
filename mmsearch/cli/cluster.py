"""`mmsearch cluster`: pictures in groups that look alike, with names and a map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import (
    build_filter,
    filter_options,
    is_terminal,
    note,
    store_options,
    threads_option,
)

if TYPE_CHECKING:
    from index_store import Collection
    from mmsearch.organise.clusters import Cluster
    from mmsearch.organise.contents import Contents

WRITTEN = 500  # items a transaction


@click.command("cluster", short_help="Put pictures into groups that look alike, and name them.")
@click.option(
    "-k",
    "--clusters",
    "count",
    type=click.IntRange(2, 1000),
    metavar="N",
    help="How many [default: by the number of pictures, at most 50].",
)
@filter_options
@click.option(
    "--names",
    type=click.Choice(["auto", "captions", "words"]),
    default="auto",
    show_default=True,
    help="Name them by the words of stored captions, or by those "
    "of a list that the model finds; auto: captions where most pictures have one.",
)
@click.option(
    "--words",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The list, a word or phrase a line [default: everyday ones].",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a map of the pictures, one page with all in it (extra: organise).",
)
@click.option(
    "--write",
    is_flag=True,
    help="""Store the names: --where 'cluster = "beach sea sand"' finds them.""",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Where k-means starts; the same seed gives the same clusters.",
)
@click.option(
    "--format",
    "format_",
    default="table",
    show_default=True,
    type=click.Choice(["table", "json", "jsonl"]),
    help="jsonl: a line a cluster.",
)
@threads_option
@store_options
def cluster_command(
    count: int | None, where: str | None, paths: tuple[str, ...], names: str, words: Path | None,
    html: Path | None, write: bool, seed: int, format_: str, threads: int | None, store: Path,
    collection: str,
) -> int:  # fmt: skip
    """Put the pictures of a collection into groups that look alike, and name the groups.

    \b
    mmsearch cluster --html map.html
    mmsearch cluster -k 12 --path 'holidays/*' --write
    """
    condition = build_filter(where, paths)
    from index_store import Store
    from mmsearch.organise.clusters import clusters
    from mmsearch.organise.contents import read_contents

    if html is not None:
        _check_map_can_be_made()
    with Store.open(store, readonly=not write) as opened:
        found = opened.collection(collection)
        contents = read_contents(found, "image", condition)
        groups = clusters(contents, count, seed=seed)
        groups = _named(found, contents, groups, names, words, threads)
        if write:
            _store_names(found, contents, groups)
    if html is not None:
        _write_map(html, contents, groups)
    _print(contents, groups, format_)
    return Exit.OK


def _check_map_can_be_made() -> None:
    from importlib.util import find_spec

    from mmsearch.errors import MissingExtra

    if find_spec("sklearn") is None:
        raise MissingExtra("a map of the clusters", "organise")


def _named(
    collection: Collection, contents: Contents, groups: list[Cluster], names: str,
    words: Path | None, threads: int | None,
) -> list[Cluster]:  # fmt: skip
    from mmsearch.errors import BadQuery
    from mmsearch.organise.clusters import centres_of
    from mmsearch.organise.naming import (
        WORDS,
        captions_of,
        names_by_captions,
        names_by_words,
        read_words,
    )

    vocabulary = read_words(words or WORDS)
    captions = {} if names == "words" or words else captions_of(collection)
    told = [[t for n in g.members for t in captions.get(contents.items[n].key, ())] for g in groups]
    having = sum(item.key in captions for item in contents.items)
    if names == "captions" and not having:
        raise BadQuery("none of the pictures has a stored caption; name them by --names words")
    if names == "captions" or having > len(contents.items) / 2:
        found = names_by_captions(told)
    else:
        from mmsearch.encoders import load_encoder

        encoder = load_encoder(collection.model, threads=threads, towers="text")
        found = names_by_words(encoder, centres_of(contents, groups), vocabulary)
    return [replace(g, name=name or g.name) for g, name in zip(groups, found, strict=True)]


def _store_names(collection: Collection, contents: Contents, groups: Sequence[Cluster]) -> None:
    from mmsearch.organise.clusters import with_cluster
    from mmsearch.pipeline import batched

    named = (with_cluster(contents.items[n], g.name) for g in groups for n in g.members)
    for some in batched(named, WRITTEN):
        collection.update(some)


def _write_map(path: Path, contents: Contents, groups: Sequence[Cluster]) -> None:
    from mmsearch.files import write_whole
    from mmsearch.organise.map_page import map_page

    if is_terminal():
        note("drawing the map")
    page = map_page(contents, groups, "Clusters")
    try:
        write_whole(path, lambda file: file.write(page.encode("utf8", "backslashreplace")))
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from error
    note(f"the map is in {path}")


def _print(contents: Contents, groups: Sequence[Cluster], format_: str) -> None:
    from mmsearch.cli.output import item_path
    from mmsearch.uris import printable

    rows = [
        {"name": g.name, "count": len(g.members),
         "keys": [contents.items[n].key for n in g.members]}
        for g in groups
    ]  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "clusters": rows}, indent=2))
    elif format_ == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
    else:
        for group in groups:
            typical = contents.items[group.members[0]]
            where = printable(item_path(typical) or typical.key)
            click.echo(f"{len(group.members):>7,}  {printable(group.name):<32}  {where}")
