"""Ranks of the relevant candidates, from vectors, without the full matrix of scores.

A strip of queries is scored against all candidates at a time, so memory is the vectors and one
strip, whatever the number of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_store.types import Vectors
from mmsearch.metrics import Floats, Ints, Ranking

STRIP_BYTES = 256 << 20
# Beyond so many relevant candidates of one query its scores are sorted, not passed over again.
_PASSES = 32
_HASH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Relevance:
    """Which candidates answer which query, and how well.

    starts: (queries + 1,); query q owns candidates[starts[q]:starts[q + 1]], at least one.
    candidates: (pairs,) row numbers. grades: (pairs,), above 0; 1.0 where there is no grading.
    """

    starts: Ints
    candidates: Ints
    grades: Floats

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, query: int) -> Ints:
        """Return the relevant candidates of one query."""
        return self.candidates[self.starts[query] : self.starts[query + 1]]


def relevance(rows: Iterable[Mapping[int, float] | Iterable[int]]) -> Relevance:
    """Return the relevance of each query, given as candidates or as {candidate: grade}.

    Raises:
        ValueError: a query has no relevant candidate, or a grade is not above 0.
    """
    starts, candidates, grades = [0], [], []
    for n, row in enumerate(rows):
        graded = row if isinstance(row, Mapping) else dict.fromkeys(row, 1.0)
        if not graded:
            raise ValueError(f"query {n} has no relevant candidate")
        if min(graded.values()) <= 0:
            raise ValueError(f"query {n}: a grade is not above 0; leave out what is irrelevant")
        candidates += list(graded)
        grades += list(graded.values())
        starts.append(len(candidates))
    return Relevance(
        np.array(starts, np.int64), np.array(candidates, np.int64), np.array(grades, np.float64)
    )


def rank_relevant(
    queries: Vectors,
    candidates: Vectors,
    relevant: Relevance,
    *,
    strip_bytes: int = STRIP_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Ranking:
    """Return at which ranks each query's relevant candidates come, by inner product.

    Ties count against the query: a relevant candidate comes after all irrelevant ones of the
    same score; of relevant ones with the same score the lower grade comes first. Candidates
    with bitwise equal vectors get the same score, whatever the matrix product's rounding.

    Args:
        queries: (queries, dim).
        candidates: (candidates, dim).
        relevant: for each query.
        strip_bytes: memory for scores; at least one query's are held.
        progress: called with the number of queries done.

    Raises:
        ValueError: dimensions or numbers differ, a candidate is not there, or a vector holds
            a NaN or an infinity.
    """
    _check(queries, candidates, relevant)
    kept, place = _distinct(candidates)
    columns = np.ascontiguousarray(candidates[kept] if place is not None else candidates).T
    rows = max(1, strip_bytes // (4 * max(len(candidates), 1) * (1 if place is None else 2)))
    ranks = np.empty(len(relevant.candidates), np.int64)
    grades = np.empty(len(relevant.candidates), np.float64)
    luckiest = np.empty(len(queries), np.int64)
    strip = np.empty((min(rows, len(queries)), columns.shape[1]), np.float32)
    for start in range(0, len(queries), rows):
        block = queries[start : start + rows].astype(np.float32, copy=False)
        scores = np.matmul(block, columns, out=strip[: len(block)])
        if place is not None:
            scores = scores[:, place]
        for query, row in enumerate(scores, start=start):
            own = slice(relevant.starts[query], relevant.starts[query + 1])
            ranks[own], grades[own], luckiest[query] = _rank(
                row, relevant.candidates[own], relevant.grades[own]
            )
        if progress:
            progress(min(start + rows, len(queries)))
    return Ranking(relevant.starts, ranks, grades, luckiest, len(candidates))


def top(query: Vectors, candidates: Vectors, k: int) -> tuple[Ints, Vectors]:
    """Return the row numbers and scores of the k best candidates of one query, (dim,)."""
    scores = candidates @ query
    best = np.argsort(-scores, kind="stable")[:k]
    return best, scores[best]


def _rank(row: Vectors, relevant: Ints, grades: Floats) -> tuple[Ints, Floats, int]:
    """Return ranks and grades of one query's relevant candidates, best first, and the luckiest."""
    own = row[relevant]
    order = np.lexsort((grades, -own))
    own = own[order]
    if len(own) <= _PASSES:
        at_least = np.array([np.count_nonzero(row >= score) for score in own])
    else:
        at_least = len(row) - np.searchsorted(np.sort(row), own, side="left")
    irrelevant = at_least - np.searchsorted(-own, -own, side="right")
    ranks = irrelevant + np.arange(1, len(own) + 1)
    return ranks, grades[order], 1 + int(np.count_nonzero(row > own[0]))


def _check(queries: Vectors, candidates: Vectors, relevant: Relevance) -> None:
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        raise ValueError(f"queries are {queries.shape} and candidates {candidates.shape}")
    if len(relevant) != len(queries):
        raise ValueError(f"{len(queries)} queries, but relevance is given for {len(relevant)}")
    named = relevant.candidates
    if len(named) and not 0 <= named.min() <= named.max() < len(candidates):
        raise ValueError(f"a relevant candidate is none of the {len(candidates)}")
    for vectors in (queries, candidates):
        for start in range(0, len(vectors), _HASH_ROWS):
            if not np.isfinite(vectors[start : start + _HASH_ROWS]).all():
                raise ValueError("a vector holds a NaN or an infinity")


def _distinct(rows: Vectors) -> tuple[Ints, npt.NDArray[np.intp] | None]:
    """Return the first of each set of equal rows, and for each row its place among these.

    The place is None where no two rows are equal. A matrix product may round equal columns
    differently at the edge of a block: scored once, their scores are the same.
    """
    rows = np.ascontiguousarray(rows, np.float32)
    odd = np.random.default_rng(0).integers(1, 2**63, rows.shape[1], dtype=np.uint64)
    sums = [
        (rows[n : n + _HASH_ROWS].view(np.uint32).astype(np.uint64) * odd).sum(axis=1)
        for n in range(0, len(rows), _HASH_ROWS)
    ]
    numbers = np.arange(len(rows))
    if not sums:
        return numbers, None
    _, first, which = np.unique(np.concatenate(sums), return_index=True, return_inverse=True)
    first = first[which]
    twins = np.flatnonzero(first != numbers)
    # Equal sums of different rows: as good as never, but then each stands for itself.
    false = twins[(rows[twins] != rows[first[twins]]).any(axis=1)]
    first[false] = false
    kept = np.flatnonzero(first == numbers)
    if len(kept) == len(rows):
        return numbers, None
    return kept, np.searchsorted(kept, first)
