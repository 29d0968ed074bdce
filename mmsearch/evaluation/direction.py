"""One way of asking, measured: text to picture, or picture to text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from index_store.types import Vectors
from mmsearch.evaluation.ranks import Relevance, rank_relevant
from mmsearch.metrics import (
    HIT_RANKS,
    RESAMPLES,
    Difference,
    Ranking,
    Values,
    figures,
    intervals,
    paired_differences,
    per_query,
    replicates,
    straddling,
)


@dataclass(frozen=True, slots=True)
class Direction:
    """What was measured one way.

    values: each figure for each query. figures: over all of them. ci95: their intervals.
    ties: for each of HIT_RANKS, how many queries hit or miss there only by the tie rule.
    """

    ranking: Ranking
    relevant: Relevance
    clusters: Sequence[str]
    values: Values
    figures: dict[str, float]
    ci95: dict[str, tuple[float, float]]
    ties: dict[int, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as the JSON schema has them (schema 1)."""
        return {
            **{name: _rounded(value) for name, value in self.figures.items()},
            "ci95": {name: [_rounded(v) for v in edges] for name, edges in self.ci95.items()},
            "queries": len(self.ranking),
            "candidates": self.ranking.candidates,
            "ties": {f"R@{k}": count for k, count in self.ties.items()},
        }


def measure(
    queries: Vectors, candidates: Vectors, relevant: Relevance, clusters: Sequence[str],
    *, resamples: int = RESAMPLES, seed: int = 0, progress: Callable[[int], None] | None = None,
) -> Direction:  # fmt: skip
    """Return all figures of queries against candidates, by exact search.

    Args:
        queries: (queries, dim).
        candidates: (candidates, dim).
        relevant: which candidates answer which query.
        clusters: (queries,) what is drawn together by the bootstrap.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: called with the number of queries done.

    Raises:
        ValueError: as `rank_relevant`.
    """
    ranking = rank_relevant(queries, candidates, relevant, progress=progress)
    values = per_query(ranking)
    samples = replicates(values, clusters, resamples=resamples, seed=seed)
    return Direction(
        ranking, relevant, clusters, values, figures(values), intervals(samples),
        {k: straddling(ranking, k) for k in HIT_RANKS},
    )  # fmt: skip


def differences(
    a: Direction, b: Direction, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Return B minus A for each figure, over the same queries.

    Raises:
        ValueError: the two have different queries.
    """
    if list(a.clusters) != list(b.clusters):
        raise ValueError("two systems are compared over the same queries; these differ")
    return paired_differences(a.values, b.values, a.clusters, resamples=resamples, seed=seed)


def difference_dict(found: dict[str, Difference]) -> dict[str, Any]:
    """Return differences as the JSON schema has them (schema 1)."""
    return {
        name: {
            "difference": _rounded(d.difference),
            "ci95": [_rounded(d.low), _rounded(d.high)],
            "clear": d.clear,
            "b_better": round(d.better, 4),
        }
        for name, d in found.items()
    }


def _rounded(value: float) -> float:
    return round(value, 4)


__all__ = ["Direction", "difference_dict", "differences", "measure"]
