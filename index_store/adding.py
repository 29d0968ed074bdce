"""Items and vectors on their way in: what `Collection.add` does inside its transaction.

Plain SQL on the driver's own connection: the same statements built and bound by SQLAlchemy cost
more than all that SQLite does with them.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from index_store import rows, segment
from index_store.errors import BadVectors, StoreError
from index_store.shelf import VECTORS
from index_store.types import KINDS, AddReport, Item, Kind, Vectors

_NAMES = ("collection_id", "seq", *rows.NAMES)
_NEW = ", ".join(f"{name} = excluded.{name}" for name in _NAMES if name != "key")
# ON CONFLICT, not REPLACE: a replaced item keeps its id.
_UPSERT = (
    f"INSERT INTO item ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))}) "
    f"ON CONFLICT (collection_id, key) DO UPDATE SET {_NEW}"
)


def add(
    raw: sqlite3.Connection, store: Path, collection: int, items: Sequence[Item],
    halves: segment.Halves,
) -> AddReport:  # fmt: skip
    """Make the vectors durable, then insert or replace the rows; the caller commits.

    Args:
        items: each passed `rows.check`.
        halves: (len(items), dim), from `to_halves`.
    """
    seq = _next_seq(raw, collection)
    (newest,) = raw.execute("SELECT max(id) FROM item").fetchone()
    last = {item.key: n for n, item in enumerate(items)}
    added = len(last)
    for kind in KINDS:
        chosen = [n for n in sorted(last.values()) if items[n].kind == kind]
        if not chosen:
            continue
        block = halves if len(chosen) == len(items) else halves[chosen]
        base = _append(raw, store, collection, kind, block)
        crcs = segment.crcs(block)
        raw.executemany(
            _UPSERT,
            [
                (collection, seq, *rows.to_values(items[i], base + n, crc))
                for n, (i, crc) in enumerate(zip(chosen, crcs, strict=True))
            ],
        )
        added -= _older(raw, collection, kind, base, newest or 0)
    return AddReport(added, len(items) - added, seq)


def to_halves(vectors: Vectors, n: int) -> segment.Halves:
    """Return the vectors as they are stored, checked.

    Raises:
        BadVectors: not n rows, not two-dimensional, NaN or infinity, or no unit rows.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != n:
        raise BadVectors(f"{n} items, but vectors of shape {vectors.shape}")
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    if not np.all(np.abs(lengths - 1) < 1e-2):
        bad = int(np.flatnonzero(~(np.abs(lengths - 1) < 1e-2))[0])
        raise BadVectors(f"row {bad} has length {lengths[bad]}, not 1 (or holds a NaN)")
    return vectors.astype(np.float16)


def failed_before(raw: sqlite3.Connection, collection: int) -> bool:
    """Return whether the collection remembers any failure at all."""
    sql = "SELECT 1 FROM failure WHERE collection_id = ? LIMIT 1"
    return raw.execute(sql, [collection]).fetchone() is not None


def _next_seq(raw: sqlite3.Connection, collection: int) -> int:
    sql = "UPDATE collection SET seq = seq + 1 WHERE id = ? RETURNING seq"
    found = raw.execute(sql, [collection]).fetchall()
    if not found:
        raise StoreError("the collection was deleted or replaced meanwhile; open it anew")
    return int(found[0][0])


def _older(raw: sqlite3.Connection, collection: int, kind: Kind, base: int, newest: int) -> int:
    """Return how many of the rows from this position on were there before under their key.

    They are few and lie together in the index over positions, so this costs nothing however
    many there are; counting all items before and after grew with the collection.
    """
    sql = "SELECT count(*) FROM item WHERE collection_id = ? AND kind = ? AND pos >= ? AND id <= ?"
    return int(raw.execute(sql, [collection, kind, base, newest]).fetchone()[0])


def _append(
    raw: sqlite3.Connection, store: Path, collection: int, kind: Kind, block: segment.Halves
) -> int:
    """Write rows to the last segment, or a new one; return the first one's position."""
    found = raw.execute(
        "SELECT file, base, slots, uuid FROM segment WHERE collection_id = ? AND kind = ? "
        "ORDER BY base DESC LIMIT 1",
        [collection, kind],
    ).fetchone()
    folder, dim = store / VECTORS, block.shape[1]
    current = None
    if found:
        file, base, slots, name = found
        current = segment.Segment(folder / file, dim, base, slots, name)
    if current is None or current.full():
        base = current.end if current else 0
        file = f"c{collection}-{kind}-{base}-{uuid.uuid4().hex[:8]}.vec"
        current = segment.create(folder / file, dim, base)
        raw.execute(
            "INSERT INTO segment (collection_id, kind, base, slots, file, uuid) "
            "VALUES (?, ?, ?, 0, ?, ?)",
            [collection, kind, base, file, current.uuid],
        )
    longer = current.append(block)
    raw.execute("UPDATE segment SET slots = ? WHERE file = ?", [longer.slots, current.path.name])
    return current.end
