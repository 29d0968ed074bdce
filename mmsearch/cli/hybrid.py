"""`search` and `batch --hybrid`: the options, and the search that they and --diverse ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.numbers import Between
from mmsearch.cli.options import is_terminal, note

if TYPE_CHECKING:
    from mmsearch.search import Engine
    from mmsearch.types import Hit, Query

    Answer = Callable[[Sequence[Query]], list[list[Hit]]]

_QUIET = "mmsearch.quiet"
DELAY_S = 1.0  # what takes less is not worth a bar
HYBRID_WEIGHT = click.option("--hybrid-weight", type=Between(0, 1), default=0.5, show_default=True,
                             metavar="X",
                             help="What words count beside vectors, with --hybrid.")  # fmt: skip
F = TypeVar("F", bound=Callable[..., Any])


def hybrid_options(command: F) -> F:
    """Add --hybrid, --hybrid-weight and --quiet; the command gets the weight, None without, as
    `hybrid`."""

    @wraps(command)
    def called(*args: Any, hybrid: bool, hybrid_weight: float, **kwargs: Any) -> Any:
        return command(*args, hybrid=hybrid_weight if hybrid else None, **kwargs)

    out: Any = called
    for option in (
        click.option("-q", "--quiet", is_flag=True, expose_value=False,
                     callback=lambda ctx, _param, value: ctx.meta.update({_QUIET: value}),
                     help="No progress while words are read for the first time."),
        HYBRID_WEIGHT,
        click.option("--hybrid/--no-hybrid", default=False,
                     help="Also look for the words themselves, in the names of files and folders, "
                     "captions, keywords and tags, and for captions that mean the same.  "
                     "[default: no-hybrid]"),
    ):  # fmt: skip
        out = option(out)
    result: F = out
    return result


def found(
    engine: Engine, asked: Query, *, diverse: float | None = None, hybrid: float | None = None
) -> list[Hit]:
    """Return the hits of a query, by words too if `hybrid` is their weight."""
    wanted = asked
    if diverse is not None:
        from mmsearch.organise.diversity import POOL, diversified

        wanted = replace(asked, k=asked.k * POOL)
    if hybrid is not None:
        from mmsearch.hybrid import wanted_text

        if wanted_text(asked) is None:
            note("there are no words in the question: --hybrid changes nothing")
    with answering(engine, hybrid) as answer:
        (hits,) = answer([wanted])
    if diverse is None:
        return hits
    return diversified(engine.collection, hits, asked.k, diverse)


@contextmanager
def answering(
    engine: Engine, hybrid: float | None, *, quiet: bool = False
) -> Iterator[Answer]:  # fmt: skip
    """Yield what answers queries, by words too if `hybrid` is their weight."""
    if hybrid is None:
        yield engine.search_batch
        return
    from mmsearch.hybrid import lexicon_of, search_hybrid_batch

    with _reading(quiet) as progress, closing(lexicon_of(engine.collection, progress)) as lexicon:
        yield partial(search_hybrid_batch, engine, lexicon, weight=hybrid)


@contextmanager
def _reading(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what shows on stderr how many items' words are read; None where nobody looks."""
    if quiet or click.get_current_context().meta.get(_QUIET) or not is_terminal():
        yield None
        return
    from tqdm import tqdm

    bars: list[tqdm[Any]] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(desc="reading words", total=total, unit=" items", delay=DELAY_S,
                             leave=False))  # fmt: skip
        bars[0].update(done - bars[0].n)
        if done >= total:
            bars.pop().close()

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()
