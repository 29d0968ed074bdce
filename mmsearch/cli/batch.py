"""`mmsearch batch`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.device import scan_device_option, scan_on
from mmsearch.cli.hybrid import answering, hybrid_options
from mmsearch.cli.options import store_options, threads_option
from mmsearch.cli.parts import one_query, with_keys
from mmsearch.cli.query_log import log_text, query_log_option
from mmsearch.cli.query_options import (
    both,
    build_condition,
    condition_options,
    cutoff_option,
    order_options,
    read_question,
)
from mmsearch.cli.reranking import Asked, rerank_options, with_second
from mmsearch.cli.search import FORMAT_HELP, opened_engine, result_options
from mmsearch.cli.terms import CLIPBOARD, STDIN, question_parts

if TYPE_CHECKING:
    from index_store.types import Kind
    from mmsearch.cli.hybrid import Answer
    from mmsearch.ordering import Order
    from mmsearch.types import Hit, MinScore, Query

GROUP = 32  # queries that share a call of the model, at most
READ = 1 << 16  # bytes


@click.command("batch", short_help="Answer many queries with one load of the model.")
@click.argument("queries", type=click.File("rb"))
@result_options
@condition_options
@order_options
@cutoff_option
@hybrid_options
@rerank_options
@click.option("--format", "format_", default="jsonl", show_default=True, help=FORMAT_HELP,
              type=click.Choice(["table", "json", "jsonl", "csv", "tsv", "paths"]))  # fmt: skip
@query_log_option
@scan_device_option
@threads_option
@store_options
def batch_command(
    queries: IO[bytes], k: int, kind: Kind, model: str | None, format_: str, sort: Order,
    parse: bool, min_score: MinScore, hybrid: float | None, second: Asked, device: str | None,
    threads: int | None, store: Path, collection: str, **conditions: Any,
) -> int:  # fmt: skip
    """Answer the queries of a file, or of standard input (-), one a line.

    A line is what QUERY is in `search`: words, the path of an existing file, a URL, id:KEY, or a
    sum of these.
    Answers are written as the lines come. Exits with 1 if a query has no hit.
    """
    condition = build_condition(**conditions)
    with opened_engine(store, collection, model, threads, towers="both") as engine:
        from mmsearch.cli.output import write_batch
        from mmsearch.ordering import in_order
        from mmsearch.types import Part

        scan_on(engine.collection, device)
        engine = with_second(engine, second, model or engine.collection.model, threads)
        missed = 0

        def asked(line: str) -> Query:
            if line in (STDIN, CLIPBOARD):
                parts = [Part(line)]
            else:
                parts = question_parts(line, as_text=False, parse=parse, alone=True)
            text, when, least = parts[0].text, None, min_score
            if len(parts) == 1 and text is not None:
                text, when = read_question(text, kind, parse=parse)
                parts = [Part(text)]
            elif min_score == "auto":
                least = None  # that is for one text
            parts = with_keys(parts, engine.collection, store)
            log_text(store, collection, text)
            where = both(condition, when)
            return one_query(parts, k=k, kind=kind, where=where, min_score=least)

        def answers() -> Iterator[tuple[str, Query, list[Hit]]]:
            nonlocal missed
            with answering(engine, hybrid) as answer:
                for lines in _lines(queries):
                    for line, query, hits in _answered(lines, asked, answer):
                        missed += not hits
                        yield line, query, in_order(hits, sort)

        write_batch(answers(), format_)
    return Exit.NO_HITS if missed else Exit.OK


def _answered(
    lines: list[tuple[int, str]], asked: Callable[[str], Query], answer: Answer
) -> Iterator[tuple[str, Query, list[Hit]]]:
    """Yield lines with what they ask for and their hits, by one call of the model.

    Of lines of which one cannot be answered those before it are, and the error says which it is.
    """
    from mmsearch.errors import BadQuery

    questions: list[Query] = []
    refused: Exception | None = None
    for number, line in lines:
        try:
            with _named(number):
                questions.append(asked(line))
        except (BadQuery, click.UsageError) as error:
            refused = error
            break
    try:
        found = iter(answer(questions))
    except BadQuery:
        found = (answer([question])[0] for question in questions)
    for (number, line), query in zip(lines, questions, strict=False):
        with _named(number):
            hits = next(found)
        yield line, query, hits
    if refused:
        raise refused


@contextmanager
def _named(number: int) -> Iterator[None]:
    """Let an error say which line it is about."""
    from mmsearch.errors import BadQuery

    try:
        yield
    except BadQuery as error:
        raise BadQuery(f"line {number} of the queries: {error}") from error
    except click.UsageError as error:
        raise click.UsageError(f"line {number} of the queries: {error.message}") from error


def _lines(file: IO[bytes]) -> Iterator[list[tuple[int, str]]]:
    """Yield the lines that are there already, at most 32 of them, with their numbers, but for
    empty ones.

    So who writes a line to a pipe and waits gets its answer, and many lines share the model's
    call.

    Raises:
        UsageError: a line is no UTF-8.
    """
    from mmsearch.pipeline import batched

    rest, count = b"", 0
    while data := file.read1(READ):  # type: ignore[attr-defined] # no more than is there
        *whole, rest = (rest + data).split(b"\n")
        yield from batched(_decoded(whole, count), GROUP)
        count += len(whole)
    yield from batched(_decoded([rest], count), GROUP)


def _decoded(lines: list[bytes], before: int) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something as texts; `before` them others have come."""
    for number, line in enumerate(lines, start=before + 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf8").strip()
        except UnicodeDecodeError as error:
            raise click.UsageError(f"line {number} of the queries is no UTF-8") from error
        if text:
            yield number, text
