"""Retrieval figures from ranks, and how sure they are. Pure numpy; knows no model and no file.

A `Ranking` says at which ranks each query's relevant candidates came. Everything else follows
from it: `per_query` values, `figures` over all queries, `intervals` by bootstrap.

Percentages are 0 to 100; ranks start at 1. Ties count against the query everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Values = Mapping[str, Floats]

HIT_RANKS = (1, 5, 10)
DEPTH = 10  # of nDCG@10 and recall@10
LOWER_IS_BETTER = frozenset({"median_rank", "mean_rank"})
RESAMPLES = 1_000
_CELLS = 4_000_000  # weights held at once by the bootstrap: 32 MB


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where the relevant candidates of each query came, ties counted against the query.

    starts: (queries + 1,), query q owns ranks[starts[q]:starts[q + 1]], at least one.
    ranks: (pairs,) 1-based, ascending within a query. grades: (pairs,) above 0, in that order.
    luckiest: (queries,) the rank of the first relevant candidate had its ties been broken in
    the query's favour. candidates: how many were ranked.
    """

    starts: Ints
    ranks: Ints
    grades: Floats
    luckiest: Ints
    candidates: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def first(self) -> Ints:
        """(queries,) the rank of the best-placed relevant candidate."""
        return self.ranks[self.starts[:-1]]

    @property
    def counts(self) -> Ints:
        """(queries,) how many relevant candidates each query has."""
        return np.diff(self.starts)


def hits(ranking: Ranking, k: int) -> Floats:
    """Return, for each query, 1.0 if a relevant candidate is among the first k, else 0.0.

    The CLIP papers' "R@k" or "recall@k", in the IR libraries hit rate or Success@k. One is
    enough, however many there are: with 5 captions a picture this is not `recall`.
    """
    return (ranking.first <= k).astype(np.float64)


def recall(ranking: Ranking, k: int) -> Floats:
    """Return, for each query, the part of its relevant candidates among the first k.

    The IR libraries' recall@k (Manning et al., Introduction to Information Retrieval, 8.3):
    at most k / n where a query has n > k relevant candidates.
    """
    return _sums(ranking, ranking.ranks <= k) / ranking.counts


def reciprocal_ranks(ranking: Ranking) -> Floats:
    """Return, for each query, 1 / the rank of its first relevant candidate; their mean is MRR."""
    return 1.0 / ranking.first


def average_precision(ranking: Ranking) -> Floats:
    """Return, for each query, the mean precision at the ranks of its relevant candidates.

    To full depth, not cut at k. Their mean is mAP.
    """
    # Introduction to Information Retrieval, eq. 8.8: at the j-th relevant one it is j / rank.
    return _sums(ranking, (_within(ranking) + 1) / ranking.ranks) / ranking.counts


def r_precision(ranking: Ranking) -> Floats:
    """Return, for each query with n relevant candidates, the part of the first n that are."""
    limit = np.repeat(ranking.counts, ranking.counts)
    return _sums(ranking, ranking.ranks <= limit) / ranking.counts


def ndcg(ranking: Ranking, k: int, *, exponential: bool = False) -> Floats:
    """Return, for each query, the normalised discounted cumulative gain of the first k, 0 to 1.

    Args:
        k: depth, also of the ideal ranking.
        exponential: gain 2^grade - 1 (Burges et al. 2005) in place of the grade itself
            (Jarvelin and Kekalainen 2002, as trec_eval, ir_measures and ranx have it).
    """
    gains = np.exp2(ranking.grades) - 1 if exponential else ranking.grades
    # Jarvelin and Kekalainen 2002 with the discount 1 / log2(rank + 1) from rank 1 on.
    got = _sums(ranking, np.where(ranking.ranks <= k, gains / np.log2(ranking.ranks + 1), 0))
    query = np.repeat(np.arange(len(ranking)), ranking.counts)
    best = gains[np.lexsort((-gains, query))]
    place = _within(ranking) + 1
    ideal = _sums(ranking, np.where(place <= k, best / np.log2(place + 1), 0))
    return got / ideal


def per_query(ranking: Ranking) -> dict[str, Floats]:
    """Return the value of every figure for each query: per cent, but for the two ranks."""
    first = ranking.first.astype(np.float64)
    shares = {f"R@{k}": hits(ranking, k) for k in HIT_RANKS}
    more = {
        "MRR": reciprocal_ranks(ranking),
        "mAP": average_precision(ranking),
        f"nDCG@{DEPTH}": ndcg(ranking, DEPTH),
        "R-precision": r_precision(ranking),
        f"recall@{DEPTH}": recall(ranking, DEPTH),
    }
    return {
        **{name: 100 * value for name, value in shares.items()},
        "median_rank": first,
        "mean_rank": first,
        **{name: 100 * value for name, value in more.items()},
    }


def figures(values: Values) -> dict[str, float]:
    """Return the mean of each figure over the queries; of "median_rank" the median."""
    return {
        name: float(np.median(v) if name == "median_rank" else np.mean(v))
        for name, v in values.items()
    }


def straddling(ranking: Ranking, k: int) -> int:
    """Return how many queries hit or miss at k only by the way that equal scores are broken."""
    return int(np.count_nonzero((ranking.luckiest <= k) & (ranking.first > k)))


def replicates(
    values: Values, clusters: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Floats]:
    """Return each figure for every bootstrap sample, (resamples,).

    Whole clusters are drawn with replacement, as many as there are: five captions of one
    picture succeed and fail together, and drawn singly they would make the interval too
    narrow. The same clusters, resamples and seed draw the same samples.

    Args:
        values: from `per_query`, each (queries,).
        clusters: (queries,) what each query belongs to, of any hashable sort.
        resamples: how many samples.
        seed: of the draw.
    """
    # Efron and Tibshirani, An Introduction to the Bootstrap, ch. 8; ratio of cluster sums.
    _, owner = np.unique(np.asarray(clusters), return_inverse=True)
    means = [name for name in values if name != "median_rank"]
    columns = [np.bincount(owner, weights=values[name]) for name in means]
    sums = np.column_stack([*columns, np.bincount(owner).astype(np.float64)])
    parts: dict[str, list[Floats]] = {name: [] for name in values}
    for weights in _draws(len(sums), len(owner), resamples, seed):
        totals = weights @ sums  # (samples, means + 1)
        for column, name in enumerate(means):
            parts[name].append(totals[:, column] / totals[:, -1])
        if "median_rank" in values:
            parts["median_rank"].append(_medians(values["median_rank"], weights, owner))
    return {name: np.concatenate(part) for name, part in parts.items()}


def intervals(
    samples: Mapping[str, Floats], *, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each figure from its `replicates`."""
    edges = [(1 - level) / 2, (1 + level) / 2]
    found = {name: np.quantile(sample, edges) for name, sample in samples.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """B minus A, with its interval, and the part of the samples in which B was the better."""

    difference: float
    low: float
    high: float
    better: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_differences(
    a: Values, b: Values, clusters: npt.ArrayLike,
    *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95,
) -> dict[str, Difference]:  # fmt: skip
    """Return, for each figure, B minus A over the same queries, drawn together.

    Args:
        a: from `per_query`.
        b: of the other system, the same queries in the same order.
        clusters: as in `replicates`.
        resamples: how many samples.
        seed: of the draw.
        level: of the intervals.

    Raises:
        ValueError: the two have different queries.
    """
    if {len(v) for v in a.values()} != {len(v) for v in b.values()}:
        raise ValueError("two systems are compared over the same queries; these differ in number")
    one = replicates(a, clusters, resamples=resamples, seed=seed)
    two = replicates(b, clusters, resamples=resamples, seed=seed)
    gaps = {name: two[name] - one[name] for name in one}
    edges = intervals(gaps, level=level)
    here, there = figures(a), figures(b)
    found = {}
    for name, gap in gaps.items():
        up = -gap if name in LOWER_IS_BETTER else gap
        better = float(np.mean(up > 0) + np.mean(up == 0) / 2)
        found[name] = Difference(there[name] - here[name], *edges[name], better)
    return found


def _sums(ranking: Ranking, values: npt.NDArray[Any]) -> Floats:
    """Return the sum over each query's pairs, (queries,)."""
    if not len(ranking):
        return np.empty(0)
    summed: Floats = np.add.reduceat(values.astype(np.float64), ranking.starts[:-1])
    return summed


def _within(ranking: Ranking) -> Ints:
    """Return, for each pair, its place among its query's pairs, from 0."""
    return np.arange(len(ranking.ranks)) - np.repeat(ranking.starts[:-1], ranking.counts)


def _draws(clusters: int, queries: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of (samples, clusters): how often each cluster was drawn."""
    # One stream a sample: the block's size, a matter of memory, doesn't change what is drawn.
    streams = np.random.SeedSequence(seed).spawn(resamples)
    block = max(1, _CELLS // max(clusters, queries, 1))
    for start in range(0, resamples, block):
        chosen = streams[start : start + block]
        drawn = (np.random.default_rng(s).integers(0, clusters, clusters) for s in chosen)
        yield np.stack([np.bincount(d, minlength=clusters) for d in drawn]).astype(np.float64)


def _medians(values: Floats, weights: Floats, owner: npt.NDArray[np.intp]) -> Floats:
    """Return the median of the values for each row of weights, equal to that of the repeats."""
    order = np.argsort(values, kind="stable")
    running = np.cumsum(weights[:, owner[order]], axis=1)  # (samples, queries)
    ranked, total = values[order], running[:, -1]
    low = np.count_nonzero(running <= ((total - 1) // 2)[:, None], axis=1)
    high = np.count_nonzero(running <= (total // 2)[:, None], axis=1)
    middles: Floats = (ranked[low] + ranked[high]) / 2
    return middles


__all__ = [
    "DEPTH", "HIT_RANKS", "LOWER_IS_BETTER", "Difference", "Ranking", "average_precision",
    "figures", "hits", "intervals", "ndcg", "paired_differences", "per_query", "r_precision",
    "recall", "reciprocal_ranks", "replicates", "straddling",
]  # fmt: skip
