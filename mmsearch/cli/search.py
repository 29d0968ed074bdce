"""`mmsearch search`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli import Exit
from mmsearch.cli.delivery import Delivery, deliver, delivery_options
from mmsearch.cli.hybrid import found, hybrid_options
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import (
    daemon_option,
    note,
    store_options,
    threads_option,
    wants_daemon,
)
from mmsearch.cli.parts import (
    Chosen,
    hit_parts,
    one_query,
    option_parts,
    part_options,
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
from mmsearch.cli.terms import described, question_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from index_store import Where
    from index_store.types import Kind
    from mmsearch.encoders import Towers
    from mmsearch.ordering import Order
    from mmsearch.search import Engine
    from mmsearch.types import Encoder, MinScore, Part

F = TypeVar("F", bound="Callable[..., Any]")
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".avif", ".tif", ".tiff")
FORMAT_HELP = "How to print hits; json has a schema version."


def result_options(command: F) -> F:
    """Add -n, --kind and --model."""
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
@result_options
@condition_options
@within_option
@order_options
@cutoff_option
@click.option("--format", "format_", default="table", show_default=True, help=FORMAT_HELP,
              type=click.Choice(["table", "json", "jsonl", "csv", "tsv", "paths",
                                 "html"]))  # fmt: skip
@click.option("-0", "--null", is_flag=True, help="Print paths ended by NUL, for xargs -0.")
@click.option("--diverse", type=Between(0, 1), metavar="X",
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
    clipboard:), id:KEY for a stored one, or a sum of these: "horse + 2:stripes - brown".

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
    with opened_engine(store, collection, model, threads, towers=_towers(parts)) as engine:
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
    parts = question_parts(query, as_text=as_text, parse=parse, alone=not chosen)
    when = None
    for part in parts:
        if not as_text and part.text and part.text.lower().endswith(PICTURE_ENDINGS):
            note(f"there is no file {part.text!r}; searching for these words")
    if len(parts) == 1 and (words := parts[0].text) is not None:
        words, when = read_question(words, kind, parse=parse)
        parts = [replace(parts[0], text=words)]
    if len(parts) > 1 or any(p.weight != 1 for p in parts):
        note(f"a sum: {' '.join(map(described, parts))} (--no-parse: as words)")
    scale = chosen.weights.get("text", 1.0)
    parts = [replace(p, weight=scale * p.weight) for p in parts]
    return [*parts, *option_parts(chosen, weights=parse)], when


def _towers(parts: Sequence[Part]) -> Towers:
    """Return which half of a model answers these parts; of a picture's, what else is wanted."""
    if any(p.image is not None for p in parts):
        return "both"
    return "text" if any(p.text is not None for p in parts) else "image"


@contextmanager
def opened_engine(
    path: Path, name: str, model: str | None, threads: int | None, *, towers: Towers
) -> Iterator[Engine]:
    """Open the collection for reading, with its encoder, of which these towers will be asked."""
    from index_store import Store
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.search import Engine

    with Store.open(path, readonly=True) as store:
        collection = store.collection(name)
        spec = model or collection.model

        def load() -> Encoder:
            return load_encoder(spec, threads=threads, towers=towers)

        if not wants_daemon():
            yield Engine(collection, load())
            return
        from mmsearch.daemon.client import warm_encoder

        with warm_encoder(resolve_model(spec), collection.space, load) as encoder:
            yield Engine(collection, encoder)
