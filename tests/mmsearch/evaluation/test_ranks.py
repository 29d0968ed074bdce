"""Ranks in strips against the obvious matrix; ties."""

from __future__ import annotations

import numpy as np
import pytest

from index_store.types import Vectors
from mmsearch.evaluation import (
    Relevance,
    rank_relevant,
    relevance,
)
from mmsearch.evaluation import ranks as ranks_module
from mmsearch.metrics import Ranking
from tests.mmsearch.evaluation.conftest import axes, unit

TINY = 64  # bytes of scores: a strip of one query


def lists(ranking: Ranking) -> list[list[int]]:
    return [part.tolist() for part in np.split(ranking.ranks, ranking.starts[1:-1])]


@pytest.mark.parametrize("strip_bytes", [TINY, 4_000, 1 << 20])
def test_ranks_in_strips_are_those_of_the_full_matrix(strip_bytes: int) -> None:
    rng = np.random.default_rng(0)
    queries, candidates = unit(rng, 60), unit(rng, 90)
    rows = [rng.choice(90, rng.integers(1, 50), replace=False).tolist() for _ in range(60)]
    found = rank_relevant(queries, candidates, relevance(rows), strip_bytes=strip_bytes)
    scores = queries @ candidates.T
    places = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
    assert lists(found) == [sorted(places[q, row].tolist()) for q, row in enumerate(rows)]
    assert found.luckiest.tolist() == found.first.tolist()


def test_ties_count_against_the_query() -> None:
    # All five candidates score alike; the model knows nothing.
    candidates = axes(*[(1, 0)] * 5)
    found = rank_relevant(axes((1, 0)), candidates, relevance([[0, 3]]))
    assert lists(found) == [[4, 5]]
    assert found.luckiest.tolist() == [1]


def test_of_tied_relevant_candidates_the_lower_grade_comes_first() -> None:
    candidates = axes((1, 0), (1, 0), (0, 1))
    found = rank_relevant(axes((1, 0)), candidates, relevance([{0: 3.0, 1: 1.0}]))
    assert found.grades.tolist() == [1, 3]
    assert lists(found) == [[1, 2]]


def test_many_relevant_candidates_with_ties_rank_alike_by_both_ways_of_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    queries, candidates = unit(rng, 5, 3), unit(rng, 80, 3).round(1)
    relevant = relevance([rng.choice(80, 30, replace=False).tolist() for _ in range(5)])
    passes = rank_relevant(queries, candidates, relevant)
    monkeypatch.setattr(ranks_module, "_PASSES", 0)
    assert lists(rank_relevant(queries, candidates, relevant)) == lists(passes)


@pytest.mark.parametrize("n", [7, 33, 257, 1001])
def test_equal_candidates_tie_whatever_the_matrix_product_rounds(n: int) -> None:
    rng = np.random.default_rng(n)
    candidates = unit(rng, n, 384)
    candidates[-1] = candidates[0]  # the first column and the last, where blocks differ
    queries = unit(rng, 20, 384)
    found = rank_relevant(queries, candidates, relevance([[0]] * 20))
    assert (found.first == found.luckiest + 1).all()


def test_rows_with_equal_hashes_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zeros:
        def integers(self, *_: object, **__: object) -> np.ndarray:
            return np.zeros(16, np.uint64)

    rng = np.random.default_rng(0)
    queries, candidates = unit(rng, 4), unit(rng, 30)
    candidates[7] = candidates[2]
    wanted = lists(rank_relevant(queries, candidates, relevance([[n] for n in range(4)])))
    monkeypatch.setattr(ranks_module.np.random, "default_rng", lambda _: Zeros())
    assert lists(rank_relevant(queries, candidates, relevance([[n] for n in range(4)]))) == wanted


@pytest.mark.parametrize(
    ("queries", "candidates", "relevant", "message"),
    [
        (axes((1, 0)), axes((1, 0, 0)), relevance([[0]]), "queries are"),
        (axes((1, 0)), axes((1, 0)), relevance([[0], [0]]), "relevance is given for 2"),
        (axes((1, 0)), axes((1, 0)), relevance([[1]]), "none of the 1"),
        (axes((1, np.nan)), axes((1, 0)), relevance([[0]]), "NaN"),
        (axes((1, 0)), axes((np.inf, 0)), relevance([[0]]), "NaN or an infinity"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    queries: Vectors, candidates: Vectors, relevant: Relevance, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rank_relevant(queries, candidates, relevant)


def test_relevance_needs_something_relevant() -> None:
    with pytest.raises(ValueError, match="query 1 has no relevant"):
        relevance([[0], []])
    with pytest.raises(ValueError, match="not above 0"):
        relevance([{0: 0.0}])
