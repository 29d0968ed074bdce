"""An item as a row of the database: both ways, with the checksum that guards it."""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from index_store.errors import StoreCorrupt, StoreError
from index_store.types import KINDS, Item

COLUMNS = "key, kind, uri, text, stamp, content, meta, pos, vector_crc, row_crc"
CHUNK = 2_000


def check(item: Item) -> None:
    """Refuse an item that cannot be stored and read back as it is.

    Raises:
        StoreError: an empty key, an unknown kind, meta that is not flat JSON, or text that is
            no Unicode (a lone surrogate).
    """
    if not item.key or item.kind not in KINDS:
        raise StoreError(f"an item needs a key and a kind of {KINDS}: {item.key!r}, {item.kind!r}")
    for name, value in item.meta.items():
        flat = value is None or isinstance(value, str | int | float)
        if not flat or (isinstance(value, float) and not math.isfinite(value)):
            raise StoreError(f"{item.key!r}: meta {name!r} is no text, number or truth value")
    strings = [item.key, item.uri, item.text, item.stamp, item.content, *item.meta]
    strings += [v for v in item.meta.values() if isinstance(v, str)]
    try:
        "".join(strings).encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{item.key!r}: its text is no valid Unicode") from error


def to_row(item: Item, pos: int, vector_crc: int) -> dict[str, Any]:
    """Return the columns of an item that passed `check`."""
    row = {
        "key": item.key,
        "kind": item.kind,
        "uri": item.uri,
        "text": item.text,
        "stamp": item.stamp,
        "content": item.content,
        "meta": json.dumps(dict(item.meta), ensure_ascii=False, separators=(",", ":")),
        "pos": pos,
        "vector_crc": vector_crc,
    }
    return row | {"row_crc": _crc(tuple(row.values()))}


def to_item(row: Sequence[Any], store: Path) -> Item:
    """Return the item of a row of `COLUMNS`.

    Raises:
        StoreCorrupt: the row is not what was written.
    """
    if _crc(row[:9]) != row[9]:
        raise StoreCorrupt(store, f"the row of {row[0]!r} has changed since it was written")
    key, kind, uri, text, stamp, content, meta = row[:7]
    return Item(key, kind, uri, text, stamp, content, json.loads(meta))


def fetch(
    connection: sqlite3.Connection, collection: int, column: str, values: Iterable[Any],
    *, kind: str | None = None, columns: str = COLUMNS,
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """Yield the rows whose `column` (a name of ours, never a user's) is among the values."""
    values = list(values)
    more, bound = (" AND kind = ?", [kind]) if kind else ("", [])
    for start in range(0, len(values), CHUNK):
        part = json.dumps(values[start : start + CHUNK])
        yield from connection.execute(
            f"SELECT {columns} FROM item WHERE collection_id = ?{more} "
            f"AND {column} IN (SELECT value FROM json_each(?))",
            [collection, *bound, part],
        ).fetchall()


def _crc(values: Sequence[Any]) -> int:
    return zlib.crc32(json.dumps(values, ensure_ascii=True).encode())
