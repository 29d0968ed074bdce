"""The checksum of a row, which stores of all versions must agree on."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from index_store import Item
from index_store.errors import StoreCorrupt
from index_store.rows import NAMES, to_item, to_row, to_values


@pytest.mark.parametrize(
    "item",
    [
        Item("a.jpg"),
        Item('süß "☃" \\ \n\x00\x7f\u2028', "text", text="\U0001f600 und mehr", stamp="1:2"),
        Item("k", meta={"n": 1, "x": 0.1, "big": 10**30, "yes": True, "none": None, "ü": "ß"}),
    ],
)
def test_the_checksum_is_that_of_the_row_as_a_json_array(item: Item) -> None:
    values = to_values(item, 7, 3_000_000_000)
    assert values[-1] == zlib.crc32(json.dumps(values[:-1]).encode())
    assert to_item(values, Path()) == item
    assert list(to_row(item, 7, 3_000_000_000).items()) == list(zip(NAMES, values, strict=True))


@pytest.mark.parametrize(
    ("place", "other"), [(7, "7"), (7, 7.0), (0, None), (8, None), (3, 5), (8, b"5")]
)
def test_a_value_of_another_type_is_a_change(place: int, other: object) -> None:
    row = list(to_values(Item("a.jpg"), 7, 5))
    row[place] = other
    with pytest.raises(StoreCorrupt, match="has changed since it was written"):
        to_item(row, Path())
