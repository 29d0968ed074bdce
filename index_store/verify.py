"""Look for damage without changing anything."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

from index_store import ann, digest, rows
from index_store.db import DAMAGE, META, read_connection
from index_store.errors import StoreCorrupt, StoreError
from index_store.lexical import LEXICAL, problem
from index_store.reports import Problem
from index_store.segment import Segment
from index_store.shelf import read_index_file, read_segments
from index_store.types import KINDS, Kind

FILES = {".vec", ".faiss"}  # that rows name
TRIES = 5  # looks, where a writer keeps taking files away


def verify(store: Path, *, full: bool) -> list[Problem]:
    """Return what is wrong; see `Store.verify`."""
    try:
        connection = read_connection(store)
    except StoreCorrupt as error:
        return [Problem(META, error.what)]
    try:
        for _ in range(TRIES):
            found = list(_problems(connection, store, full=full))
            connection.execute("ROLLBACK")
            sql = "SELECT file FROM segment UNION SELECT file FROM idx"
            named = {file for (file,) in connection.execute(sql)}
            # A compaction meanwhile takes away files that this look still wanted to see.
            left = [p for p in found if Path(p.where).suffix not in FILES or p.where in named]
            if len(left) == len(found):
                break
        return left
    except DAMAGE as error:
        return [Problem(META, str(error))]
    finally:
        connection.close()


def _problems(connection: sqlite3.Connection, store: Path, *, full: bool) -> Iterator[Problem]:
    connection.execute("BEGIN")
    yield from database_problems(connection, store, full=full)
    for id_, name, dim in connection.execute("SELECT id, name, dim FROM collection").fetchall():
        for kind in KINDS:
            segments = read_segments(connection, id_, kind, dim, store)
            if full:
                yield from vector_problems(connection, id_, name, kind, segments)
            else:
                yield from _segments(segments)
                yield from _positions(connection, id_, name, kind, segments)
            yield from index_problems(connection, id_, kind, store)
    for path in sorted((store / LEXICAL).glob("*.db")):
        if what := problem(path):
            yield Problem(path.name, f"{what}; the next search by words builds it anew")


def database_problems(
    connection: sqlite3.Connection, store: Path, *, full: bool
) -> Iterator[Problem]:
    """Yield what is wrong in the database itself.

    Raises:
        sqlite3.DatabaseError: so much that it cannot be read.
    """
    # The quick check does not compare SQLite's own indexes with their tables.
    for (line,) in connection.execute(f"PRAGMA {'integrity_check' if full else 'quick_check'}"):
        if line != "ok":
            yield Problem(META, line)
    for table, *_ in connection.execute("PRAGMA foreign_key_check"):
        yield Problem(META, f"a row of table {table} belongs to no collection")
    for id_, name in connection.execute("SELECT id, name FROM collection").fetchall():
        if digest.stored(connection, id_) not in {None, digest.compute(connection, id_)}:
            yield Problem(META, f"collection {name!r} or its failures have changed")
    for table in ("item", "segment", "idx"):
        sql = f"SELECT count(*) FROM {table} WHERE kind NOT IN ('image', 'text')"
        if connection.execute(sql).fetchone()[0]:
            yield Problem(META, f"a row of table {table} has an unknown kind")
    if full:
        for row in connection.execute(f"SELECT {rows.COLUMNS} FROM item"):
            try:
                rows.to_item(row, store)
            except StoreError:
                yield Problem(META, f"the row of {row[0]!r} has changed since it was written")


def place_problems(connection: sqlite3.Connection, store: Path) -> Iterator[Problem]:
    """Yield segments that are not as the database says, and rows that point to none."""
    for id_, name, dim in connection.execute("SELECT id, name, dim FROM collection").fetchall():
        for kind in KINDS:
            segments = read_segments(connection, id_, kind, dim, store)
            yield from _segments(segments)
            yield from _positions(connection, id_, name, kind, segments)


def vector_problems(
    connection: sqlite3.Connection, id_: int, name: str, kind: Kind, segments: tuple[Segment, ...]
) -> Iterator[Problem]:
    """Yield what is wrong with one shelf's segments and live vectors, all looked at."""
    yield from _segments(segments)
    yield from _positions(connection, id_, name, kind, segments)
    yield from _contents(connection, id_, kind, segments)


def _segments(segments: tuple[Segment, ...]) -> Iterator[Problem]:
    end = None
    for segment in segments:
        try:
            segment.check()
        except StoreCorrupt as error:
            yield Problem(segment.path.name, error.what)
        if end is not None and segment.base != end:
            yield Problem(
                segment.path.name, f"begins at {segment.base}, the one before ends at {end}"
            )
        end = segment.end


def _positions(
    connection: sqlite3.Connection, id_: int, name: str, kind: Kind, segments: tuple[Segment, ...]
) -> Iterator[Problem]:
    """Every row must point into a segment."""
    low = segments[0].base if segments else 0
    high = segments[-1].end if segments else 0
    (lost,) = connection.execute(
        "SELECT count(*) FROM item WHERE collection_id = ? AND kind = ? "
        "AND NOT (pos >= ? AND pos < ?)",
        [id_, kind, low, high],
    ).fetchone()
    if lost:
        yield Problem(f"{META}: {name}", f"{lost} {kind} rows point to no vector")


def index_problems(
    connection: sqlite3.Connection, id_: int, kind: Kind, store: Path
) -> Iterator[Problem]:
    """Yield what is wrong with the index of one shelf; answers are right without it."""
    file = read_index_file(connection, id_, kind, store)
    if file is None:
        return
    try:
        index = ann.load(file.path, file.size, file.blake2b)
        if len(index) != file.upto - file.base:
            yield Problem(file.path.name, f"has {len(index)} rows, not those it is said to have")
    except OSError as error:
        yield Problem(file.path.name, f"{error.strerror}; searches are exact, and slower")
    except StoreCorrupt as error:
        yield Problem(file.path.name, f"{error.what}; searches are exact, and slower")


def _contents(
    connection: sqlite3.Connection, id_: int, kind: Kind, segments: tuple[Segment, ...]
) -> Iterator[Problem]:
    """Compare every live vector with its checksum."""
    for segment in segments:
        try:
            vectors = segment.open()
        except StoreCorrupt:
            continue  # reported already
        sql = "SELECT key, pos, vector_crc FROM item WHERE collection_id = ? AND kind = ? "
        bounds = [id_, kind, segment.base, segment.end]
        for key, pos, crc in connection.execute(sql + "AND pos >= ? AND pos < ?", bounds):
            if zlib.crc32(vectors[pos - segment.base].tobytes()) != crc:
                yield Problem(segment.path.name, f"the vector of {key!r} has changed")
