"""Vectors that a collection holds: of some items, and samples that stand for all of a kind."""

from __future__ import annotations

from collections.abc import Sequence

from index_store import Collection
from index_store.types import Kind, Vectors
from mmsearch.composing import BACKGROUND


class Samples:
    """Stored vectors that stand for all of a kind, read when they are first asked for."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._read: dict[Kind, Vectors] = {}

    def __getitem__(self, kind: Kind) -> Vectors:
        if kind not in self._read:
            self._read[kind] = self._collection.sample(kind, BACKGROUND)
        return self._read[kind]


def rows_of(collection: Collection, keys: Sequence[str]) -> dict[str, Vectors]:
    """Return the vectors of stored items, of those that are still there."""
    while True:
        try:
            return dict(zip(keys, collection.vectors(keys), strict=True))
        except KeyError:  # deleted since it was found
            keys = [item.key for item in collection.get(keys)]
