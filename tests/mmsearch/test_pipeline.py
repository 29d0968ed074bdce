"""The parts of the pipeline keep order, bounds and errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mmsearch.pipeline import batched, map_ahead


def test_batches_are_full_but_the_last() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []


def test_results_come_in_order_whatever_each_takes() -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.02 if n == 0 else 0)
        return n * n

    assert list(map_ahead(slow_first, range(20), threads=4, ahead=8)) == [n * n for n in range(20)]


def test_no_more_than_ahead_are_taken_from_the_source() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield n

    results = map_ahead(str, source(), threads=2, ahead=5)
    next(results)
    assert taken == 5
    results.close()


def test_an_error_comes_out_in_its_place() -> None:
    def fail_at_3(n: int) -> int:
        if n == 3:
            raise ValueError("three")
        return n

    results = map_ahead(fail_at_3, range(10), threads=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_closing_early_ends_the_threads() -> None:
    results = map_ahead(str, range(1000), threads=2, ahead=4)
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]
