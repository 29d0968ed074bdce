"""`mmsearch optimize`: the index that reaches a recall, measured before it is put to use."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import is_terminal, note, store_options, threads_option

if TYPE_CHECKING:
    from index_store import Collection, OptimizeReport
    from index_store.types import Kind, Vectors

MISSED = 1  # no index met the target
FEWEST = 20  # queries that measure something
ENOUGH = 50  # logged questions that count more than captions
HIDDEN = {"recall", "ms", "ram"}  # parts of a recipe: the target, which the user has just given
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
COLUMNS = ("recipe", "recall@10", "p50 ms", "p99 ms", "MB", "B/vector", "build s", "")


def _bytes(_ctx: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Return a size as people write it, 500M, 2G or 1.5GB, in bytes; units are powers of 1,024."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
    if not found or not float(found[1]):
        raise click.BadParameter(f"{value!r} is no size; write 500M, 2G or 1.5GB")
    return int(float(found[1]) * UNITS[found[2]])


@click.command("optimize", short_help="Choose, measure and build the index that searches use.")
@click.option("--target-recall", type=Between(0.01, 1.0), default=0.95,
              show_default=True, metavar="R",
              help="Part of the 10 best, by exact search, that must be found.")  # fmt: skip
@click.option("--max-latency-ms", type=Between(min=0, min_open=True), metavar="MS",
              help="Median time of one query, without the model.")  # fmt: skip
@click.option("--max-ram", callback=_bytes, metavar="SIZE",
              help="Memory for the index, as in 500M or 2G.")  # fmt: skip
@click.option("--kind", type=click.Choice(["image", "text"]), default="image", show_default=True,
              help="What is searched: pictures, or texts.")  # fmt: skip
@click.option("--queries", type=click.File(encoding="utf8"), metavar="FILE",
              help="Texts that will be asked, one a line [default: the log of questions, stored "
              "captions, or names and keywords].")  # fmt: skip
@click.option("--index", "indexes", multiple=True, metavar="NAME",
              help="Try only this kind, or these; a wrong name lists all.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Measure and report; leave the index as it is.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
@threads_option
@store_options
def optimize_command(
    target_recall: float, max_latency_ms: float | None, max_ram: int | None, kind: Kind,
    queries: Any, indexes: tuple[str, ...], dry_run: bool, format_: str, quiet: bool,
    threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Choose, measure and build the index that searches use.

    \b
    mmsearch optimize --target-recall 0.95 --max-latency-ms 10 --max-ram 2G
    mmsearch optimize --queries asked.txt --dry-run
    mmsearch optimize --index pq4fs --index hnsw-sq8

    What is tried depends on the number of vectors and the memory. Each index is tuned with half
    of the queries and measured with the other half: the texts of --queries; else questions that
    were asked with --query-log, if there are 50; else the collection's captions; else words that
    the pictures bring (captions, titles, keywords, names). What misses the target is not put to
    use: then the search stays as it was and the exit code is 1. `mmsearch index` chooses anew,
    for the same recall and memory, as the collection grows.
    """
    from index_store import Store, Target

    _check_indexes(indexes)
    lines = [line.strip() for line in queries or () if line.strip()]
    if queries is not None and len(lines) < FEWEST:
        raise click.UsageError(f"--queries: {len(lines)} texts; at least {FEWEST} are needed")
    target = Target(target_recall, max_latency_ms, max_ram)
    say = None if quiet or not is_terminal() else (lambda what: note(f"{what} ..."))
    with Store.open(store, readonly=dry_run) as opened:
        chosen = opened.collection(collection)
        source = "given"
        if not lines:
            lines, source = _texts(chosen, kind, store, collection)
        if not lines and max(chosen.count("image"), chosen.count("text")) < FEWEST:
            raise click.UsageError(
                f"too little is stored to measure with; give {FEWEST} texts or more by --queries"
            )
        report = chosen.optimize(
            kind, target=target, queries=_encoded(chosen, lines, threads) if lines else None,
            indexes=indexes, dry_run=dry_run, progress=say,
        )  # fmt: skip
    if lines:
        report = replace(report, asked=source)
    _write(report, format_)
    _explain(report, dry_run)
    _note_untried(report, indexes)
    return Exit.OK if report.chosen else MISSED


def _check_indexes(indexes: tuple[str, ...]) -> None:
    from index_store.recipe import INDEX_KINDS

    for name in indexes:
        if name not in INDEX_KINDS:
            raise click.UsageError(
                f"--index: there is no kind {name!r}; known: {', '.join(INDEX_KINDS)}"
            )


def _other(kind: Kind) -> Kind:
    return "text" if kind == "image" else "image"


def _texts(collection: Collection, kind: Kind, store: Path, name: str) -> tuple[list[str], str]:
    """Return texts to ask, and where from; none where stored captions are as good, or pictures
    have to do."""
    from mmsearch.query_texts import MOST, logged_queries, metadata_texts

    logged = logged_queries(store, name)[:MOST] if kind == "image" else []
    if len(logged) >= ENOUGH:
        return logged, "log"
    if kind == "text" or collection.count("text") >= FEWEST:
        return [], ""
    known = metadata_texts(collection)
    return (known, "metadata") if len(known) >= FEWEST else ([], "")


def _encoded(collection: Collection, lines: list[str], threads: int | None) -> Vectors:
    """Return the vectors of the texts, by the collection's own model."""
    import numpy as np

    from mmsearch.encoders import load_encoder
    from mmsearch.pipeline import batched

    encoder = load_encoder(collection.model, threads=threads, towers="text")
    collection.check_space(encoder.space)
    return np.concatenate([encoder.encode_texts(part) for part in batched(lines, 32)])


def _write(report: OptimizeReport, format_: str) -> None:
    if format_ == "json":
        target = report.target
        whole = {
            "schema": 1, "kind": report.kind, "rows": report.rows, "queries": report.queries,
            "asked": report.asked, "flattering": report.flattering,
            "target": {"recall@10": target.recall, "max_latency_ms": target.max_latency_ms,
                       "max_ram": target.max_ram},
            "trials": [t.as_dict() for t in report.trials],
            "chosen": report.chosen.recipe if report.chosen else None,
            "published": report.published,
        }  # fmt: skip
        click.echo(json.dumps(whole, indent=2))
        return
    rows = [COLUMNS]
    for t in report.trials:
        remark = f"misses {', '.join(t.missed)}" if t.missed else ""
        if t == report.chosen:
            remark = "chosen"
        size = f"{t.bytes / 1e6:.1f}", f"{t.bytes / max(report.rows, 1):.0f}"
        times = f"{t.p50_ms:.2f}", f"{t.p99_ms:.2f}"
        rows.append((_name(t.recipe), f"{t.recall:.4f}", *times, *size, f"{t.build_s:.1f}", remark))
    widths = [max(len(r[n]) for r in rows) for n in range(len(COLUMNS))]
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(w) for cell, w in zip(row[1:-1], widths[1:-1], strict=True))
        click.echo("  ".join([first, *rest, row[-1]]).rstrip())


def _name(recipe: str) -> str:
    kind, _, rest = recipe.partition(":")
    shown = [p for p in rest.split(",") if p.partition("=")[0] not in HIDDEN]
    return kind if kind == "exact" else f"{kind} {' '.join(shown)}"


def _note_untried(report: OptimizeReport, indexes: tuple[str, ...]) -> None:
    from index_store.recipe import SMALLEST

    untried = [name for name in indexes if name != "exact"] if report.rows < SMALLEST else []
    if untried:
        note(f"not tried: {', '.join(untried)}; an index needs {SMALLEST:,} {report.kind}s")


def _explain(report: OptimizeReport, dry_run: bool) -> None:
    sources = {
        "given": "given texts",
        "log": "logged questions",
        "metadata": "texts from what is known of the pictures",
        "text": "stored texts",
        "image": "stored pictures",
    }
    note(
        f"{report.rows:,} {report.kind}s; {report.queries} {sources[report.asked]} asked, half to "
        "tune, half to measure; recall is against exact search"
    )
    if report.flattering:
        note(
            f"warning: measured with stored {report.kind}s as queries, which flatter: a "
            f"{_other(report.kind)} query lies far from all {report.kind}s and loses more. "
            "Give texts that will be asked with --queries, or index captions"
        )
    if report.chosen is None:
        note("nothing met the target, so nothing was changed; ask for less, or see --index")
    elif dry_run:
        note("dry run: nothing was changed")
    else:
        note(f"searches use {report.chosen.recipe.partition(':')[0]} now")
