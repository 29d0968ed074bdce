"""Where hits are lost between the model and the answer: storing, index, filter; and the time.

All stages ask the same queries of the same collection through `Collection.search`, as a user's
query goes, one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index_store import Collection, Where
from index_store.types import Kind, Vectors
from mmsearch.metrics import HIT_RANKS

QUERIES = 2_000  # asked of each stage; of more, a seeded sample
WARM_UP = 3
Way = Callable[[int], Sequence[str]]  # the keys of the best hits of a query, by its number


@dataclass(frozen=True, slots=True)
class Stage:
    """One way of searching. R@k in per cent over the sampled queries; latency of one query.

    against: the stage that `lost` is relative to: what this one adds to that one. lost: per
    cent points of R@k, negative if something was gained.
    """

    name: str
    hits: dict[int, float]
    against: str = ""
    lost: dict[int, float] | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the stage as the JSON schema has it (schema 1)."""
        found: dict[str, Any] = {f"R@{k}": round(v, 4) for k, v in self.hits.items()}
        if self.lost is not None:
            found["against"] = self.against
            found["lost"] = {f"R@{k}": round(v, 4) for k, v in self.lost.items()}
        if self.p50_ms is not None and self.p99_ms is not None:
            found["latency_ms"] = {"p50": round(self.p50_ms, 3), "p99": round(self.p99_ms, 3)}
        return found


@dataclass(frozen=True, slots=True)
class Split:
    """The stages of one way of asking, over the same `queries`. answerable: per cent of these
    with a relevant item that passes the filter; None without one."""

    stages: tuple[Stage, ...]
    queries: int
    answerable: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the split as the JSON schema has it (schema 1)."""
        found: dict[str, Any] = {"queries": self.queries}
        if self.answerable is not None:
            found["answerable"] = round(self.answerable, 4)
        return found | {stage.name: stage.as_dict() for stage in self.stages}


def split_loss(
    collection: Collection, queries: Vectors, wanted: Sequence[frozenset[str]],
    first_ranks: Sequence[int], kind: Kind,
    *, where: Where | None = None, effort: int | None = None, seed: int = 0,
    also: Mapping[str, Way] | None = None, progress: Callable[[str, int, int], None] | None = None,
) -> Split:  # fmt: skip
    """Return what each stage between the model and the answer finds and costs.

    "model": the ranks from the encoder's own vectors. "exact": every stored (float16) vector
    is looked at. "index": the approximate index, where the collection has one. "filter": exact
    under `where`; a query whose relevant items don't pass is a miss. "filter_index": both.

    Args:
        collection: holds the candidates.
        queries: (queries, dim).
        wanted: for each query the keys of its relevant items.
        first_ranks: for each query, from `Ranking.first`.
        kind: of the candidates.
        where: a filter.
        effort: candidates that the index may name.
        seed: of the sample of queries.
        also: other ways to search, by name, to compare with "exact".
        progress: told what is asked, how many queries are done, and of how many.
    """
    chosen = np.arange(len(queries))
    if len(chosen) > QUERIES:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, QUERIES, replace=False))
    rows: list[int] = chosen.tolist()
    asked, keys = queries[chosen], [wanted[n] for n in rows]
    every = max(collection.count(kind), 1)
    indexed = any(i.kind == kind for i in collection.stats().indexes)

    asking = _Asking(collection, asked, keys, kind, progress)
    model = Stage("model", _hits([first_ranks[n] for n in rows]))
    exact = asking.stage("exact", model, None, every)
    stages = [model, exact]
    if indexed:
        stages.append(asking.stage("index", exact, None, effort))
    for name, way in (also or {}).items():
        stages.append(asking.timed(name, exact, lambda n, way=way: way(rows[n])))  # type: ignore[misc]
    if where is None:
        return Split(tuple(stages), len(asked))
    filtered = asking.stage("filter", exact, where, every)
    stages.append(filtered)
    if indexed:
        stages.append(asking.stage("filter_index", filtered, where, effort))
    passing = set(collection.keys(where))
    answerable = 100 * float(np.mean([not passing.isdisjoint(k) for k in keys]))
    return Split(tuple(stages), len(asked), answerable)


@dataclass(frozen=True, slots=True)
class _Asking:
    """The queries that every stage is asked."""

    collection: Collection
    queries: Vectors
    wanted: Sequence[frozenset[str]]
    kind: Kind
    progress: Callable[[str, int, int], None] | None

    def stage(self, name: str, against: Stage, where: Where | None, effort: int | None) -> Stage:
        """Ask all queries of the collection."""

        def ask(n: int) -> list[str]:
            (matches,) = self.collection.search(
                self.queries[n : n + 1], max(HIT_RANKS), kind=self.kind, where=where, effort=effort
            )
            return [match.item.key for match in matches]

        return self.timed(name, against, ask)

    def timed(self, name: str, against: Stage, ask: Way) -> Stage:
        """Ask all queries, one at a time, and return what was found and how long it took."""
        for n in range(min(WARM_UP, len(self.queries))):
            ask(n)
        found, times = [], []
        for n, wanted in enumerate(self.wanted):
            start = time.perf_counter()
            keys = ask(n)
            times.append(1_000 * (time.perf_counter() - start))
            found.append(next((rank for rank, key in enumerate(keys, 1) if key in wanted), 0))
            if self.progress and (n + 1) % 50 == 0:
                self.progress(f"search: {name}", n + 1, len(self.queries))
        hits = _hits(found)
        lost = {k: against.hits[k] - hits[k] for k in hits}
        p50, p99 = np.percentile(times, [50, 99])
        return Stage(name, hits, against.name, lost, float(p50), float(p99))


def _hits(first: Sequence[int]) -> dict[int, float]:
    """Return R@k in per cent from first ranks, 0 meaning none."""
    ranks = np.asarray(first)
    return {k: 100 * float(np.mean((ranks > 0) & (ranks <= k))) for k in HIT_RANKS}


__all__ = ["Split", "Stage", "Way", "split_loss"]
