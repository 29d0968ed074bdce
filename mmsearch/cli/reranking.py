"""`search --rerank`: the options of the second stage, and the engine that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.numbers import Between
from mmsearch.cli.options import note

if TYPE_CHECKING:
    from mmsearch.rerankers.token_cache import TokenCache
    from mmsearch.search import Engine

F = TypeVar("F", bound=Callable[..., Any])

LIMIT_GB = 2.0  # of --rerank-cache
SPECS = (
    "fusion, fusion:DIR; blip:, blip2:, vilt:, bridgetower:, lxmert:, visualbert:, uniter: or "
    "vlm:DIR of transformers"
)
WEIGHT = click.option("--rerank-weight", type=Between(0), default=1.0, show_default=True,
                      metavar="X", help="What the re-ranker counts: times its own weight, or, of "
                      "one that has none, times as much as the encoder.")  # fmt: skip
REGIONS = click.option("--regions", type=click.Path(path_type=Path), metavar="PATH",
                       help="For lxmert, visualbert and uniter: a folder with NAME.npz for each "
                       "NAME.jpg, or a TSV file of regions.")  # fmt: skip
CACHE = click.option("--rerank-cache", type=Between(0, 1_000_000), default=LIMIT_GB,
                     show_default=True, envvar="MMSEARCH_RERANK_CACHE", metavar="GB",
                     help="Keep what fusion, blip and blip2 see in pictures on the disk, for later "
                     "questions, in so many GB; 0: do not.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say. spec: None: no re-ranking. budget_ms: of one query. cache_gb: for
    pictures' tokens; 0: they are not kept."""

    spec: str | None
    candidates: int
    budget_ms: float | None
    weight: float = 1.0
    regions: Path | None = None
    cache_gb: float = LIMIT_GB


def rerank_options(command: F) -> F:
    """Add --rerank and its bounds; the command gets them as `second`."""

    @wraps(command)
    def called(
        *args: Any, rerank: bool, reranker: str | None, candidates: int, rerank_ms: float | None,
        rerank_weight: float, regions: Path | None, rerank_cache: float, **kwargs: Any,
    ) -> Any:  # fmt: skip
        spec = reranker or ("fusion" if rerank else None)
        second = Asked(spec, candidates, rerank_ms, rerank_weight, regions, rerank_cache)
        return command(*args, second=second, **kwargs)

    out: Any = called
    for option in (
        CACHE,
        REGIONS,
        WEIGHT,
        click.option("--rerank-ms", type=Between(0), metavar="MS",
                     help="Stop looking again after so long; the rest keep their score."),
        click.option("--candidates", type=click.IntRange(2, 10_000), default=50,
                     show_default=True, metavar="N", help="Hits to look at again."),
        click.option("--reranker", metavar="SPEC",
                     help=f"{SPECS}; means --rerank  [default: fusion]"),
        click.option("--rerank/--no-rerank", default=False,
                     help="Look at the best hits again, together with the question: slower, more "
                     "exact.  [default: no-rerank]"),
    ):  # fmt: skip
        out = option(out)
    result: F = out
    return result


def with_second(engine: Engine, asked: Asked, model: str, threads: int | None) -> Engine:
    """Return the engine, re-ranking if that is asked for.

    Raises:
        UnknownName: no re-ranker has that name.
        MissingExtra: it needs an optional part of mmsearch.
        ModelUnavailable: its files are missing or broken, or it does not fit the encoder.
        BadRegions: it needs regions, and there are none.
    """
    if asked.spec is None:
        return engine
    from mmsearch.reranking import RerankingEngine, Second, load_reranker

    reranker = load_reranker(
        asked.spec, model, threads=threads, regions=asked.regions, cache=token_cache(asked.cache_gb)
    )
    second = Second(reranker, asked.candidates, asked.budget_ms, asked.weight)
    return RerankingEngine(engine.collection, engine.encoder, second, note)


def token_cache(limit_gb: float) -> TokenCache | None:
    """Return where pictures' tokens are kept, or None for a limit of 0."""
    from mmsearch.rerankers.token_cache import GB, TokenCache

    return TokenCache(int(limit_gb * GB), note) if limit_gb else None
