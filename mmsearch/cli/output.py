"""Results on stdout, in the format that was asked for. Nothing else goes there."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from mmsearch.cli.presence import marked, presence
from mmsearch.types import Hit, Item, Part, Query
from mmsearch.uris import is_part, path_of, printable

FORMATS = ("table", "json", "jsonl", "csv", "tsv", "paths")
COLUMNS = ("rank", "score", "key", "kind", "path", "text")


def hit_path(hit: Hit) -> str:
    """Return the path of the hit's file, "" if it has none; undecodable bytes as surrogates."""
    return item_path(hit.item)


def item_path(item: Item) -> str:
    """Return the path of an item's file, as `hit_path`."""
    return path_of(item.uri) if item.uri.startswith("file:") else ""


def as_dict(hit: Hit, *, explain: bool = False) -> dict[str, Any]:
    """Return a hit as the JSON schema has it (schema 1); explained, with its parts."""
    parts = {name: round(value, 6) for name, value in hit.parts.items()}
    return ({"parts": parts} if explain else {}) | {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "key": hit.item.key,
        "kind": hit.item.kind,
        "path": hit_path(hit),
        "text": hit.item.text,
        "meta": dict(hit.item.meta),
        "state": presence(hit_path(hit)),
    }


def query_dict(query: Query) -> dict[str, Any]:
    image = query.image if isinstance(query.image, str) else None
    asked = {"text": query.text, "image": image, "kind": query.kind, "k": query.k}
    return asked | ({"parts": [_part_dict(p) for p in query.parts]} if query.parts else {})


def _part_dict(part: Part) -> dict[str, Any]:
    image = part.image if isinstance(part.image, str) else None
    return {"text": part.text, "image": image, "key": part.key, "weight": part.weight}


def write_hits(
    query: Query, hits: Sequence[Hit], format_: str, *, null: bool = False, explain: bool = False
) -> None:
    """Write the hits of one query.

    Args:
        format_: one of FORMATS.
        null: for "paths": end each with NUL, for `xargs -0`.
        explain: show what each score is made of, in the table and in JSON.
    """
    if format_ == "json":
        found = [as_dict(h, explain=explain) for h in hits]
        whole = {"schema": 1, "query": query_dict(query), "hits": found}
        click.echo(json.dumps(whole, indent=2))
    elif format_ == "jsonl":
        for hit in hits:
            click.echo(json.dumps(as_dict(hit, explain=explain)))
    elif format_ in {"csv", "tsv"}:
        rows = [[as_dict(h)[c] for c in COLUMNS] for h in hits]
        click.echo(_table([COLUMNS, *rows], format_), nl=False)
    elif format_ == "paths":
        write_paths((hit_path(h) or h.item.key for h in hits), null=null)
    else:
        for hit in hits:
            part = is_part(hit.item.uri) and hit.item.kind == "image"  # which page, which member
            shown = hit.item.key if part else hit_path(hit) or hit.item.key
            where = marked(printable(shown), hit_path(hit))
            what = f"{printable(hit.item.text)}  ({where})" if hit.item.kind == "text" else where
            parts = ", ".join(f"{name} {value:.3f}" for name, value in hit.parts.items())
            why = f"  [{parts}]" if explain else ""
            click.echo(f"{hit.rank:>3}  {hit.score:.3f}  {what}{why}")


def write_batch(answers: Iterable[tuple[str, Query, Sequence[Hit]]], format_: str) -> None:
    """Write the hits of many queries, each with the line that asked, as soon as it is there."""
    if format_ in {"csv", "tsv"}:
        click.echo(_table([("query", *COLUMNS)], format_), nl=False)
    results = []
    for line, query, hits in answers:
        if format_ == "json":
            results.append({"query": query_dict(query), "hits": [as_dict(h) for h in hits]})
        elif format_ == "jsonl":
            one = {"schema": 1, "query": query_dict(query), "hits": [as_dict(h) for h in hits]}
            click.echo(json.dumps(one))
        elif format_ in {"csv", "tsv"}:
            rows = [[line, *(as_dict(h)[c] for c in COLUMNS)] for h in hits]
            click.echo(_table(rows, format_), nl=False)
        else:
            if format_ == "table":
                click.echo(f"# {printable(line)}")
            write_hits(query, hits, format_)
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "results": results}, indent=2))


def write_paths(paths: Iterable[str], *, null: bool) -> None:
    """Write paths as the bytes they have on disk."""
    sys.stdout.flush()
    end = b"\0" if null else b"\n"
    for path in paths:
        sys.stdout.buffer.write(os.fsencode(path) + end)
    sys.stdout.buffer.flush()


def write_rows(rows: Sequence[dict[str, Any]], format_: str, *, name: str) -> None:
    """Write plain records: a table of `key: value`, or {"schema": 1, name: [...]} as JSON."""
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, name: list(rows)}, indent=2))
        return
    for row in rows:
        click.echo("  ".join(printable(str(v)) for v in row.values()))


def _table(rows: Sequence[Sequence[Any]], format_: str) -> str:
    import csv

    out = io.StringIO()
    writer = csv.writer(out, delimiter="," if format_ == "csv" else "\t", lineterminator="\n")
    # A lone surrogate cannot be written as UTF-8; JSON and `paths` have the exact name.
    writer.writerows([[v.encode("utf8", "backslashreplace").decode() if isinstance(v, str) else v
                       for v in row] for row in rows])  # fmt: skip
    return out.getvalue()
