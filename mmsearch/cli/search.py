"""`mmsearch search` and `mmsearch batch`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli import Exit
from mmsearch.cli.delivery import Delivery, deliver, delivery_options
from mmsearch.cli.device import scan_device_option, scan_on
from mmsearch.cli.hybrid import found, hybrid_options
from mmsearch.cli.options import (
    daemon_option,
    note,
    store_options,
    threads_option,
    wants_daemon,
)
from mmsearch.cli.parts import (
    CLIPBOARD,
    STDIN,
    Chosen,
    described,
    hit_parts,
    one_query,
    option_parts,
    part_of,
    part_options,
    question_parts,
    with_keys,
)
from mmsearch.cli.query_log import log_text, query_log_option
from mmsearch.cli.query_options import (
    both,
    build_condition,
    condition_options,
    cutoff_option,
    note_cut,
    note_language,
    note_undated,
    order_options,
    read_question,
    within_filter,
    within_option,
)
from mmsearch.cli.reranking import Asked, rerank_options, with_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from index_store import Where
    from index_store.types import Kind
    from mmsearch.ordering import Order
    from mmsearch.search import Engine
    from mmsearch.types import Encoder, Hit, MinScore, Part, Query

F = TypeVar("F", bound="Callable[..., Any]")
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".avif", ".tif", ".tiff")
FORMAT_HELP = "How to print hits; json has a schema version."


def _result_options(command: F) -> F:
    for option in (
        click.option("-n", "--limit", "k", type=click.IntRange(1, 10_000), default=10,
                     show_default=True, metavar="N", help="Hits wanted."),
        click.option("--kind", type=click.Choice(["image", "text"]), default="image",
                     show_default=True, help="Find pictures, or texts (captions)."),
        click.option("--model", envvar="MMSEARCH_MODEL", metavar="SPEC",
                     help="Encoder for the query [default: the collection's own]."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("search", short_help="Find pictures or texts by a text or a picture.")
@click.argument("query", required=False)
@part_options
@_result_options
@condition_options
@within_option
@order_options
@cutoff_option
@click.option("--format", "format_", default="table", show_default=True, help=FORMAT_HELP,
              type=click.Choice(["table", "json", "jsonl", "csv", "tsv", "paths",
                                 "html"]))  # fmt: skip
@click.option("-0", "--null", is_flag=True, help="Print paths ended by NUL, for xargs -0.")
@click.option("--diverse", type=click.FloatRange(0, 1), metavar="X",
              help="Hits unlike one another: 0 looks at the score alone, 1 only at what differs; "
              "try 0.5.")  # fmt: skip
@hybrid_options
@rerank_options
@click.option("--text", "as_text", is_flag=True, help="QUERY is text even if a file has its name.")
@delivery_options
@query_log_option
@threads_option
@daemon_option
@store_options
def search_command(
    query: str | None, chosen: Chosen, k: int, kind: Kind, model: str | None, format_: str,
    null: bool, diverse: float | None, hybrid: float | None, as_text: bool, within: str | None,
    sort: Order, parse: bool, min_score: MinScore, delivery: Delivery, second: Asked,
    threads: int | None, store: Path, collection: str, **conditions: Any,
) -> int:  # fmt: skip
    """Find pictures or texts by QUERY: words, a picture (its path or URL, - for standard input,
    clipboard:), id:KEY for a stored one, or a sum of these: "horse + stripes - brown".

    \b
    mmsearch search "two dogs in the snow"
    mmsearch search holiday.jpg -n 5
    mmsearch search holiday.jpg --kind text        which captions fit?
    mmsearch search "a boat" --path 'greece/*' --copy-to boats
    mmsearch search "a boat" --format html > boats.html
    mmsearch search "beach last summer" --near 37.97,23.73,50 --sort date
    mmsearch search "a beach" --image sea.jpg --not people --explain
    mmsearch search "a beach" --like 3 --unlike 1  hits of the last search
    mmsearch search "a red boat" --within last

    Exits with 1 if there is no hit.
    """
    # Everything about the call is checked before a model is loaded.
    delivery.check(kind)
    condition = both(build_condition(**conditions), within_filter(within, store, collection))
    parts, when = _asked_parts(query, chosen, kind, as_text=as_text, parse=parse)
    picture = any(p.image is not None for p in parts)
    with _engine(store, collection, model, threads, picture=picture) as engine:
        from mmsearch.cli.last import remember
        from mmsearch.ordering import in_order

        note_language(model or engine.collection.model, parts)
        engine = with_second(engine, second, model or engine.collection.model, threads)
        parts = with_keys(parts, engine.collection, store)
        parts += hit_parts(chosen, engine.collection, store)
        asked = one_query(parts, k=k, kind=kind, where=both(condition, when), min_score=min_score)
        hits = in_order(found(engine, asked, diverse=diverse, hybrid=hybrid), sort)
        if when or conditions["since"] or conditions["until"]:
            note_undated(engine.collection, kind)
        note_cut(min_score, len(hits))
        remember(store, collection, hits)
        log_text(store, collection, asked.text)
        format_ = "paths" if null else format_
        done = deliver(asked, hits, format_, delivery, null=null)
    return (Exit.OK if done else Exit.SOME_FAILED) if hits else Exit.NO_HITS


def _asked_parts(
    query: str | None, chosen: Chosen, kind: Kind, *, as_text: bool, parse: bool
) -> tuple[list[Part], Where | None]:
    """Return what the call asks for, but for the last hits; and when it was taken."""
    if query is None and not chosen:
        raise click.UsageError("say what to look for: QUERY, --image, --like or --not")
    from mmsearch.types import Part

    parts = question_parts(query, as_text=as_text, sums=parse)
    when = None
    if len(parts) == 1 and (words := parts[0].text) is not None:
        if not as_text and words.lower().endswith(PICTURE_ENDINGS):
            note(f"there is no file {words!r}; searching for these words")
        words, when = read_question(words, kind, parse=parse)
        parts = [Part(words, weight=chosen.weights.get("text", 1.0))]
    elif len(parts) > 1:
        note("a sum: " + " ".join(map(described, parts)) + " (--no-parse: as words)")
    return [*parts, *option_parts(chosen)], when


@click.command("batch", short_help="Answer many queries with one load of the model.")
@click.argument("queries", type=click.File(encoding="utf8"))
@_result_options
@condition_options
@order_options
@cutoff_option
@rerank_options
@click.option("--format", "format_", default="jsonl", show_default=True, help=FORMAT_HELP,
              type=click.Choice(["table", "json", "jsonl", "csv", "tsv", "paths"]))  # fmt: skip
@query_log_option
@scan_device_option
@threads_option
@store_options
def batch_command(
    queries: Any, k: int, kind: Kind, model: str | None, format_: str, sort: Order, parse: bool,
    min_score: MinScore, second: Asked, device: str | None, threads: int | None, store: Path,
    collection: str, **conditions: Any,
) -> int:  # fmt: skip
    """Answer the queries of a file, or of standard input (-), one a line.

    A line that is the path of an existing file, a URL or id:KEY is such a query, as in `search`.
    Exits with 1 if a query has no hit.
    """
    condition = build_condition(**conditions)
    with _engine(store, collection, model, threads, picture=True) as engine:
        from mmsearch.cli.output import write_batch
        from mmsearch.ordering import in_order
        from mmsearch.pipeline import batched
        from mmsearch.types import Part

        scan_on(engine.collection, device)
        engine = with_second(engine, second, model or engine.collection.model, threads)
        missed = 0

        def asked(line: str) -> Query:
            part = Part(line) if line in (STDIN, CLIPBOARD) else part_of(line)
            if part.text is None:
                part = with_keys([part], engine.collection, store)[0]
                least = None if min_score == "auto" else min_score  # that is for texts
                return one_query([part], k=k, kind=kind, where=condition, min_score=least)
            text, when = read_question(line, kind, parse=parse)
            where = both(condition, when)
            log_text(store, collection, text)
            return one_query([Part(text)], k=k, kind=kind, where=where, min_score=min_score)

        def answers() -> Iterator[tuple[Query, list[Hit]]]:
            nonlocal missed
            lines = (line.strip() for line in queries)
            # One by one on a terminal or a pipe; grouped they share the model's call.
            for group in batched((line for line in lines if line), 32):
                questions = [asked(line) for line in group]
                for query, hits in zip(questions, engine.search_batch(questions), strict=True):
                    missed += not hits
                    yield query, in_order(hits, sort)

        write_batch(answers(), format_)
    return Exit.NO_HITS if missed else Exit.OK


@contextmanager
def _engine(
    path: Path, name: str, model: str | None, threads: int | None, *, picture: bool
) -> Iterator[Engine]:
    """Open the collection for reading, with its encoder."""
    from index_store import Store
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.search import Engine

    with Store.open(path, readonly=True) as store:
        collection = store.collection(name)
        spec = model or collection.model

        def load() -> Encoder:
            return load_encoder(spec, threads=threads, towers="both" if picture else "text")

        if not wants_daemon():
            yield Engine(collection, load())
            return
        from mmsearch.daemon.client import warm_encoder

        with warm_encoder(resolve_model(spec), collection.space, load) as encoder:
            yield Engine(collection, encoder)
