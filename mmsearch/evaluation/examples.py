"""The queries worth looking at: the surest hits and the worst misses, with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.evaluation.direction import Direction
from mmsearch.evaluation.embedding import Embedded
from mmsearch.evaluation.ranks import top
from mmsearch.metrics import Ints

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Found:
    """One candidate: its row, its score, and whether it is relevant."""

    row: int
    score: float
    relevant: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One query. query: row of its text or picture. rank: of the first relevant candidate.

    found: the best candidates, best first. wanted: rows that are relevant.
    """

    query: int
    rank: int
    found: tuple[Found, ...]
    wanted: tuple[int, ...]


def examples(
    embedded: Embedded, name: str, direction: Direction, count: int
) -> tuple[list[Example], list[Example]]:
    """Return up to `count` best hits and `count` worst misses of one way of asking.

    Best: rank 1 with the largest lead over the best irrelevant candidate among those looked
    at. Worst: the largest ranks. One query of each picture at most, so that five captions of
    one bad picture don't fill the list.
    """
    images = name == "text_to_image"
    rows = np.arange(len(embedded.texts)) if images else np.array(embedded.pairs.described())
    queries = embedded.texts if images else embedded.images[rows]
    candidates = embedded.images if images else embedded.texts
    first = direction.ranking.first

    def example(query: int) -> Example:
        relevant = set(direction.relevant.of(query).tolist())
        best, scores = top(queries[query], candidates, SHOWN)
        found = tuple(
            Found(row, score, row in relevant)
            for row, score in zip(best.tolist(), scores.tolist(), strict=True)
        )
        return Example(int(rows[query]), int(first[query]), found, tuple(sorted(relevant)))

    hits = np.flatnonzero(first == 1)
    step = max(1, len(hits) // 200)  # a look at some of them will do
    tried = [(_lead(example(q)), q) for q in hits[::step].tolist()]
    surest = [q for _, q in sorted(tried, key=lambda t: -t[0])]
    order: Ints = np.argsort(-first, kind="stable")
    misses = [q for q in order.tolist() if first[q] > 1]
    chosen = (_one_each(part, direction.clusters, count) for part in (surest, misses))
    good, bad = ([example(q) for q in part] for part in chosen)
    return good, bad


def _lead(example: Example) -> float:
    others = [f.score for f in example.found if not f.relevant]
    return example.found[0].score - max(others, default=-1.0)


def _one_each(queries: Sequence[int], clusters: Sequence[str], count: int) -> list[int]:
    seen: set[str] = set()
    chosen: list[int] = []
    for query in queries:
        if clusters[query] not in seen and len(chosen) < count:
            seen.add(clusters[query])
            chosen.append(query)
    return chosen


__all__ = ["Example", "Found", "examples"]
