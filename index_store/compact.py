"""Give back the room of dead slots: copy what lives to new files, switch in one transaction."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, insert, update

from index_store import rows, schema, segment
from index_store.db import driver
from index_store.errors import StoreCorrupt, StoreFull
from index_store.publish import retire
from index_store.reports import CompactReport
from index_store.segment import Halves, Segment
from index_store.shelf import INDEXES, VECTORS, read_segments
from index_store.types import Kind
from index_store.writer import Writer

BLOCK = 4_096  # rows copied between two syncs
ROOM = 64 << 20  # bytes to leave free: the database grows too while rows are repointed

Row = Sequence[Any]


@dataclass(slots=True)
class Repacked:
    """What a transaction that is not committed yet has written."""

    new: list[Segment] = field(default_factory=list)
    old_files: list[Path] = field(default_factory=list)
    live: int = 0
    dead: int = 0
    bytes_before: int = 0


def compact(
    writer: Writer, store: Path, collection: int, kind: Kind, dim: int, least: float,
    progress: Callable[[int], object] | None = None,
) -> CompactReport | None:  # fmt: skip
    """Compact one shelf; see `Collection.compact`."""
    with writer.transaction() as connection:
        segments = read_segments(driver(connection), collection, kind, dim, store)
        slots = sum(s.slots for s in segments)
        live = count_live(driver(connection), collection, kind)
        if slots == live or slots - live < least * slots:
            return None
        _check_room(store, live * dim * 2)
        done = repack(connection, store, collection, kind, dim, progress=progress)
    # Only now: had the commit failed, the database would still name the old files.
    for path in done.old_files:
        with contextlib.suppress(OSError):  # the next opening tries again
            retire(path)
    after = sum(s.committed_bytes() for s in done.new)
    return CompactReport(kind, done.live, done.dead, done.bytes_before - after)


def repack(
    connection: Connection, store: Path, collection: int, kind: Kind, dim: int,
    *, lost: Callable[[Row, str], None] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Repacked:  # fmt: skip
    """Write the live vectors to new segments, durable, and point rows and segments at them.

    Positions go on after the last one, so none is ever used twice. The caller commits, and
    only then removes `old_files`.

    Args:
        lost: called with a row of `rows.COLUMNS` that is damaged, or whose vector is, and the
            reason; it is not copied, and deleted. None: damage is an error.
        progress: called with the number of rows of each block copied.

    Raises:
        StoreCorrupt: a row or a vector is not what was written. Nothing is changed.
        StoreFull, WriteFailed: the disk would not take it. Nothing is changed.
    """
    raw = driver(connection)
    segments = read_segments(raw, collection, kind, dim, store)
    copy = _Copy(store / VECTORS, collection, kind, dim, segments[-1].end if segments else 0)
    done = Repacked(
        old_files=[s.path for s in segments],
        bytes_before=sum(s.committed_bytes() for s in segments),
    )
    try:
        for block in _blocks(raw, collection, kind):
            sound = _sound(block, segments, store, lost)
            copy.append(np.stack([v for _, v in sound]) if sound else None)
            _repoint(connection, collection, kind, [r for r, _ in sound], copy.end - len(sound),
                     store)  # fmt: skip
            gone = {r[7] for r in block} - {r[7] for r, _ in sound}
            _delete_rows(connection, collection, kind, sorted(gone))
            done.live += len(sound)
            if progress:
                progress(len(block))
    except BaseException:
        # Nothing names them yet. After the commit has begun that would not be certain.
        for new in copy.segments:
            new.path.unlink(missing_ok=True)
        raise
    done.new = copy.segments
    done.dead = sum(s.slots for s in segments) - done.live
    done.old_files += _switch(connection, store, collection, kind, copy.segments)
    return done


def count_live(raw: sqlite3.Connection, collection: int, kind: Kind) -> int:
    """Return how many slots belong to an item."""
    sql = "SELECT count(*) FROM item WHERE collection_id = ? AND kind = ?"
    return int(raw.execute(sql, [collection, kind]).fetchone()[0])


class _Copy:
    """New segments, filled in order."""

    def __init__(self, folder: Path, collection: int, kind: Kind, dim: int, base: int) -> None:
        self.segments: list[Segment] = []
        self.end = base
        self._folder, self._dim, self._start = folder, dim, f"c{collection}-{kind}"

    def append(self, block: Halves | None) -> None:
        """Append rows; durable when this returns."""
        if block is None:
            return
        if not self.segments or self.segments[-1].full():
            name = f"{self._start}-{self.end}-{uuid.uuid4().hex[:8]}.vec"
            self.segments.append(segment.create(self._folder / name, self._dim, self.end))
        self.segments[-1] = self.segments[-1].append(block)
        self.end = self.segments[-1].end


def _blocks(raw: sqlite3.Connection, collection: int, kind: Kind) -> Iterator[list[Row]]:
    """Yield the rows by position; each is read before any of them is repointed."""
    (end,) = raw.execute(
        "SELECT max(pos) FROM item WHERE collection_id = ? AND kind = ?", [collection, kind]
    ).fetchone()
    last = -1
    while end is not None and last < end:
        block = raw.execute(
            f"SELECT {rows.COLUMNS} FROM item WHERE collection_id = ? AND kind = ? "
            "AND pos > ? AND pos <= ? ORDER BY pos LIMIT ?",
            [collection, kind, last, end, BLOCK],
        ).fetchall()
        if not block:
            return
        last = block[-1][7]
        yield block


def _sound(
    block: list[Row], segments: Sequence[Segment], store: Path,
    lost: Callable[[Row, str], None] | None,
) -> list[tuple[Row, Halves]]:  # fmt: skip
    """Return the rows that are what was written, each with its vector."""
    opened: dict[Path, Halves | StoreCorrupt] = {}
    sound = []
    for row in block:
        try:
            rows.to_item(row, store)
            sound.append((row, _vector(row, segments, opened, store)))
        except StoreCorrupt as error:
            if lost is None:
                raise
            lost(row, error.what)
    return sound


def _vector(
    row: Row, segments: Sequence[Segment], opened: dict[Path, Halves | StoreCorrupt], store: Path
) -> Halves:
    pos, crc = row[7], row[8]
    home = next((s for s in segments if s.base <= pos < s.end), None)
    if home is None:
        raise StoreCorrupt(store, f"the row of {row[0]!r} points to no vector")
    if home.path not in opened:
        try:
            opened[home.path] = home.readable()
        except StoreCorrupt as error:
            opened[home.path] = error
    found = opened[home.path]
    if isinstance(found, StoreCorrupt):
        raise found
    if pos - home.base >= len(found) or segment.crcs(found[[pos - home.base]]) != [crc]:
        raise StoreCorrupt(home.path, f"the vector of {row[0]!r} has changed or is missing")
    vector: Halves = found[pos - home.base]
    return vector


def _repoint(
    connection: Connection, collection: int, kind: Kind, sound: list[Row], base: int, store: Path
) -> None:
    table = schema.item
    statement = (
        update(table)
        .where(
            table.c.collection_id == collection,
            table.c.kind == kind,
            table.c.pos == bindparam("old"),
        )
        .values(pos=bindparam("new"), row_crc=bindparam("crc"))
    )
    values = []
    for n, row in enumerate(sound):
        moved = rows.to_row(rows.to_item(row, store), base + n, row[8])
        values.append({"old": row[7], "new": base + n, "crc": moved["row_crc"]})
    if values:
        connection.execute(statement, values)


def _delete_rows(connection: Connection, collection: int, kind: Kind, positions: list[int]) -> None:
    table = schema.item
    mine = (table.c.collection_id == collection) & (table.c.kind == kind)
    for start in range(0, len(positions), rows.CHUNK):
        some = table.c.pos.in_(positions[start : start + rows.CHUNK])
        connection.execute(delete(table).where(mine, some))


def _switch(
    connection: Connection, store: Path, collection: int, kind: Kind, new: list[Segment]
) -> list[Path]:
    """Put the new segments in the place of all others; return the index files let go.

    An index names old positions: until the next one is built, searches are exact.
    """
    seg, idx, counter = schema.segment, schema.idx, schema.collection
    mine = (seg.c.collection_id == collection) & (seg.c.kind == kind)
    connection.execute(delete(seg).where(mine))
    mine = (idx.c.collection_id == collection) & (idx.c.kind == kind)
    names = connection.execute(delete(idx).where(mine).returning(idx.c.file)).scalars().all()
    for s in new:
        values = {"collection_id": collection, "kind": kind, "base": s.base, "slots": s.slots}
        connection.execute(insert(seg).values(values | {"file": s.path.name, "uuid": s.uuid}))
    connection.execute(
        update(counter).where(counter.c.id == collection).values(seq=counter.c.seq + 1)
    )
    return [store / INDEXES / name for name in names]


def _check_room(store: Path, size: int) -> None:
    if shutil.disk_usage(store).free < size + ROOM:
        raise StoreFull(store)
