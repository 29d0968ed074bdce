"""The tables, and the numbered steps from one format to the next.

Imported by writers only: importing SQLAlchemy costs a cold query 0.3 s.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from index_store.db import FORMAT

metadata = MetaData()


def _collection_id() -> Column[int]:
    return Column("collection_id", ForeignKey("collection.id", ondelete="CASCADE"), nullable=False)


kv = Table("kv", metadata, Column("key", Text, primary_key=True), Column("value", Text))

collection = Table(
    "collection",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("space", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("created", Text, nullable=False),
    sqlite_autoincrement=True,
)

# The rows of one kind have positions 0, 1, 2 ... in the order of their first write; a
# segment file holds those from `base` on. A position is never used twice, so a stale index
# can name a dead row but never the wrong one.
segment = Table(
    "segment",
    metadata,
    Column("id", Integer, primary_key=True),
    _collection_id(),
    Column("kind", Text, nullable=False),
    Column("base", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("file", Text, nullable=False, unique=True),
    Column("uuid", Text, nullable=False),
    sqlite_autoincrement=True,
)

# AUTOINCREMENT: plain ids are re-used after a delete, and whoever remembered the old id
# would be given the new item.
item = Table(
    "item",
    metadata,
    Column("id", Integer, primary_key=True),
    _collection_id(),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("meta", Text, nullable=False),
    Column("pos", Integer, nullable=False),
    Column("vector_crc", Integer, nullable=False),
    Column("row_crc", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    UniqueConstraint("collection_id", "key"),
    Index("item_pos", "collection_id", "kind", "pos", unique=True),
    Index("item_content", "collection_id", "content"),
    sqlite_autoincrement=True,
)

failure = Table(
    "failure",
    metadata,
    _collection_id(),
    Column("key", Text, nullable=False),
    Column("uri", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    UniqueConstraint("collection_id", "key"),
)

# One published index: it covers the positions from `base` up to, not including, `upto`.
idx = Table(
    "idx",
    metadata,
    Column("generation", Integer, primary_key=True),
    _collection_id(),
    Column("kind", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("base", Integer, nullable=False),
    Column("upto", Integer, nullable=False),
    Column("file", Text, nullable=False, unique=True),
    Column("size", Integer, nullable=False),
    Column("blake2b", Text, nullable=False),
    sqlite_autoincrement=True,
)


def exact_key(collection: int, kind: str) -> str:
    """Return the key, in kv, that says that a shelf is to be searched exactly at any size."""
    return f"exact-{collection}-{kind}"


# MIGRATIONS[n] brings a store of format n - 1 to format n, inside the caller's transaction.
MIGRATIONS: dict[int, Callable[[Connection], None]] = {}


def create_or_migrate(connection: Connection) -> None:
    """Bring the database to the current format; the caller's transaction makes it atomic."""
    metadata.create_all(connection)
    found = connection.execute(select(kv.c.value).where(kv.c.key == "format")).scalar()
    for step in range(int(found or FORMAT) + 1, FORMAT + 1):
        MIGRATIONS[step](connection)
    row = {"key": "format", "value": str(FORMAT)}
    connection.execute(insert(kv).values(row).on_conflict_do_update(["key"], set_=row))
