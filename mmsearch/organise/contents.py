"""All that a collection holds of one kind: items with their vectors, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from index_store import Collection, Compare, Item, Where
from index_store.segment import Halves
from index_store.types import Kind
from index_store.where import AllOf

CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Contents:
    """items[i] has the vector rows[i], float16 as it is stored."""

    items: list[Item]
    rows: Halves


def read_contents(
    collection: Collection, kind: Kind = "image", where: Where | None = None
) -> Contents:
    """Return the items of that kind that pass, by key, with their vectors.

    What is deleted while this reads may be left out.

    Raises:
        BadFilter: `where` cannot be understood.
        StoreCorrupt: a row or a vector is not what was written.
    """
    condition = Compare("kind", "=", kind)
    keys = collection.keys(condition if where is None else AllOf(condition, where))
    items: list[Item] = []
    blocks: list[Halves] = []
    for start in range(0, len(keys), CHUNK):
        found, rows = _chunk(collection, keys[start : start + CHUNK])
        items += found
        blocks.append(rows)
    empty = np.empty((0, collection.space.dim), np.float16)
    return Contents(items, np.concatenate(blocks) if blocks else empty)


def _chunk(collection: Collection, keys: Sequence[str]) -> tuple[list[Item], Halves]:
    while True:
        items = collection.get(keys)
        keys = [item.key for item in items]
        try:
            return items, collection.vectors(keys).astype(np.float16)
        except KeyError:
            continue  # one of them was deleted in between
