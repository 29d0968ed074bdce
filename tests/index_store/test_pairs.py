"""Close pairs: by lists of neighbours as by looking at all."""

from __future__ import annotations

import numpy as np

from index_store.pairs import close_pairs


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_pairs_are_those_at_or_above_the_threshold() -> None:
    rows = unit(np.array([[1, 0], [1, 0.1], [0, 1], [1, 0]], np.float32))
    pairs, cosines = close_pairs(rows, 0.9)
    assert pairs.tolist() == [[0, 1], [0, 3], [1, 3]]
    assert cosines[1] == 1.0


def test_many_copies_of_one_row_hang_together_by_it() -> None:
    rows = unit(np.ones((50, 4), np.float32))
    pairs, _ = close_pairs(rows, 0.9, most=3)
    assert len(pairs) < 50 * 3
    assert {b for a, b in pairs.tolist() if a == 0} == set(range(1, 50))


def test_no_rows_have_no_pairs() -> None:
    assert close_pairs(np.empty((0, 4), np.float16), 0.5)[0].shape == (0, 2)


def test_lists_of_neighbours_find_what_looking_at_all_finds() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((6000, 32)))
    rows[3000:] = unit(rows[:3000] + 0.06 * rng.standard_normal((3000, 32)))
    exact = set(map(tuple, close_pairs(rows, 0.8)[0].tolist()))
    listed = set(map(tuple, close_pairs(rows, 0.8, exact_rows=100)[0].tolist()))
    assert len(exact) >= 3000
    assert len(listed & exact) / len(exact) >= 0.98
    assert listed <= exact
