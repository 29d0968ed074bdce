"""Hits in the order that was asked for."""

from __future__ import annotations

from mmsearch.ordering import in_order
from mmsearch.types import Hit, Item


def hit(rank: int, name: str, taken: str | None = None) -> Hit:
    meta = {"name": name} | ({"taken": taken} if taken else {})
    return Hit(rank, Item(name, meta=meta), 1 / rank)


HITS = [hit(1, "b10.jpg", "2019-01-01"), hit(2, "B9.jpg"), hit(3, "a.jpg", "2020-05-01T10:00:00"),
        hit(4, "c.jpg", "2019-01-01")]  # fmt: skip


def test_by_date_the_newest_come_first_and_undated_ones_last() -> None:
    assert [h.rank for h in in_order(HITS, "date")] == [3, 1, 4, 2]


def test_by_name_numbers_count_by_value_and_capitals_do_not() -> None:
    assert [h.item.key for h in in_order(HITS, "name")] == ["a.jpg", "B9.jpg", "b10.jpg", "c.jpg"]


def test_by_score_they_stay() -> None:
    assert in_order(HITS, "score") == HITS
