"""Maximal marginal relevance, on vectors whose answer can be seen."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np

from index_store import Collection, Item
from mmsearch.organise.diversity import diversified, mmr
from mmsearch.search import neighbours

ROWS = np.array([[1, 0, 0], [1, 0, 0], [0.8, 0.6, 0], [0, 0, 1]], np.float32)
SCORES = np.array([0.9, 0.89, 0.8, 0.1])


def test_a_weight_of_nothing_is_the_order_of_the_scores() -> None:
    assert mmr(SCORES, ROWS, 4, 0.0) == [0, 1, 2, 3]


def test_a_copy_of_the_first_hit_comes_after_what_differs() -> None:
    assert mmr(SCORES, ROWS, 3, 0.5)[:2] == [0, 2]
    assert mmr(SCORES, ROWS, 2, 1.0) == [0, 3]


def test_hits_are_ranked_anew_and_keep_their_scores(collection: Collection) -> None:
    items = [Item(f"{n}") for n in range(4)]
    rows = np.zeros((4, collection.space.dim), np.float32)
    rows[:, :3] = ROWS
    collection.add(items, rows)
    found = neighbours(collection, "0", 3)
    chosen = diversified(collection, [*found, replace(found[0], item=Item("gone"))], 2, 1.0)
    assert [h.rank for h in chosen] == [1, 2]
    assert [h.item.key for h in chosen] == ["1", "3"]
    assert chosen[0].score == found[0].score


def test_many_candidates_are_not_compared_all_at_once() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4_000, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = rng.random(len(rows))
    tracemalloc.start()
    chosen = mmr(scores, rows, 20, 0.7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # all inner products are 64 MB
    alike = rows @ rows.T
    alike = (alike - alike.min()) / np.ptp(alike)
    relevance = (scores - scores.min()) / np.ptp(scores)
    wanted: list[int] = []
    for _ in chosen:
        gain = 0.3 * relevance - 0.7 * (alike[wanted].max(0) if wanted else 0)
        gain[wanted] = -np.inf
        wanted.append(int(np.argmax(gain)))
    assert chosen == wanted
