"""A checksum for each collection over the small tables whose rows have none of their own.

It is the sum of the CRCs of the collection's row and of its failures' rows, so that a change
of one row changes it by a difference and nothing else has to be read.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from index_store import schema
from index_store.db import driver

MODULUS = 1 << 32
COLLECTION = "id, name, space, dim, metric, model, created"
FAILURE = "collection_id, key, uri, reason, stamp"


def crc(values: Iterable[Any]) -> int:
    """Return the checksum of one row; also of one with values that nobody wrote (bytes)."""
    return zlib.crc32(json.dumps(list(values), ensure_ascii=True, default=repr).encode())


def change(
    connection: Connection, collection: int,
    gone: Iterable[Sequence[Any]], come: Iterable[Sequence[Any]],
) -> None:  # fmt: skip
    """Note that failures (rows of FAILURE) went and came."""
    difference = sum(map(crc, come)) - sum(map(crc, gone))
    kv = schema.kv.c
    before = connection.execute(select(kv.value).where(kv.key == _key(collection))).scalar()
    if before is None:  # of a store that was made before there were digests
        renew(connection, collection)
    elif difference:
        _put(connection, collection, int(before) + difference)


def renew(connection: Connection, collection: int) -> None:
    """Compute the digest from what is there, or forget it with its collection."""
    kv = schema.kv
    value = compute(driver(connection), collection)
    if value is None:
        connection.execute(delete(kv).where(kv.c.key == _key(collection)))
    else:
        _put(connection, collection, value)


def compute(raw: sqlite3.Connection, collection: int) -> int | None:
    """Return what the digest should be; None if there is no such collection."""
    row = raw.execute(f"SELECT {COLLECTION} FROM collection WHERE id = ?", [collection]).fetchone()
    if row is None:
        return None
    failures = raw.execute(f"SELECT {FAILURE} FROM failure WHERE collection_id = ?", [collection])
    return (crc(row) + sum(map(crc, failures))) % MODULUS


def stored(raw: sqlite3.Connection, collection: int) -> int | None:
    """Return the digest that was written; None for a store made before there were digests."""
    row = raw.execute("SELECT value FROM kv WHERE key = ?", [_key(collection)]).fetchone()
    if row is None:
        return None
    return int(row[0]) if str(row[0]).isdigit() else -1


def _key(collection: int) -> str:
    return f"digest-{collection}"


def _put(connection: Connection, collection: int, value: int) -> None:
    row = {"key": _key(collection), "value": str(value % MODULUS)}
    statement = insert(schema.kv).values(row)
    connection.execute(statement.on_conflict_do_update(["key"], set_=row))
