"""From positions to hits: what a shelf finds, checked against the database."""

from __future__ import annotations

import sqlite3
from itertools import islice
from pathlib import Path
from typing import Any

from index_store import rows
from index_store.scan import Mask, Positions, Scan, Scores
from index_store.shelf import Shelf
from index_store.types import Kind, Match, Vectors

# Positions are looked for a few more than k: some of the best vectors may belong to items that
# were deleted or replaced since.
SPARE = 16

Rows = dict[int, tuple[Any, ...]]  # of the database, by position


def best(
    connection: sqlite3.Connection, collection: int, kind: Kind, shelf: Shelf, vectors: Vectors,
    k: int, allowed: Mask | None = None, effort: int | None = None, everywhere: Scan | None = None,
) -> tuple[list[tuple[Positions, Scores]], Rows]:  # fmt: skip
    """Return k or more live positions for each query, with some dead ones, and the rows of the
    first k live ones at least.

    Args:
        everywhere: looks at every vector, instead of the shelf's own ways.
    """
    want = k + SPARE
    while True:
        if everywhere is None:
            found = shelf.best(vectors, want, allowed, effort)
        else:
            found = everywhere(shelf.parts, vectors, want, allowed)
        live = _live(connection, collection, kind, found, k)
        enough = all(sum(p in live for p in ps.tolist()) >= k for ps, _ in found)
        if enough or want >= shelf.slots:
            return found, live
        want *= 4


def matches(
    store: Path, shelf: Shelf, live: Rows, found: tuple[Positions, Scores], k: int
) -> list[Match]:
    """Return the k best live ones as items.

    Raises:
        StoreCorrupt: a row or a vector is not what was written.
    """
    pairs = zip(found[0].tolist(), found[1].tolist(), strict=True)
    hits = list(islice(((live[p], score) for p, score in pairs if p in live), k))
    shelf.check([row[7] for row, _ in hits], [row[8] for row, _ in hits])
    # Rounding to float16 can make a cosine 1.00004.
    return [Match(rows.to_item(row, store), min(max(score, -1.0), 1.0)) for row, score in hits]


def _live(
    connection: sqlite3.Connection, collection: int, kind: Kind,
    found: list[tuple[Positions, Scores]], k: int,
) -> Rows:  # fmt: skip
    """Return the rows, by position, of the positions that still belong to an item: of the
    first k of each list, and, only if some of those do not, of all the others."""
    first = {p for ps, _ in found for p in ps[:k].tolist()}
    live = {row[7]: row for row in rows.fetch(connection, collection, "pos", first, kind=kind)}
    if len(live) < len(first):
        others = {p for ps, _ in found for p in ps[k:].tolist()} - first
        more = rows.fetch(connection, collection, "pos", others, kind=kind)
        live |= {row[7]: row for row in more}
    return live
