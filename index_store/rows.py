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
from index_store.types import KINDS, Item, Space

NAMES = (
    "key", "kind", "uri", "text", "stamp", "content", "meta", "pos", "vector_crc", "row_crc"
)  # fmt: skip
COLUMNS = ", ".join(NAMES)
CHUNK = 2_000
FEW = 64  # bound one by one: faster than a list in JSON, and so many statements stay prepared
# Made once: `json.dumps` with options makes an encoder for every call.
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode
_quoted, _number = json.encoder.encode_basestring_ascii, int.__repr__


def check(item: Item) -> None:
    """Refuse an item that cannot be stored and read back as it is.

    Raises:
        StoreError: an empty key, an unknown kind, meta that is not flat JSON, or text that is
            no Unicode (a lone surrogate).
    """
    if not item.key or item.kind not in KINDS:
        raise StoreError(f"an item needs a key and a kind of {KINDS}: {item.key!r}, {item.kind!r}")
    strings = [item.key, item.uri, item.text, item.stamp, item.content, *item.meta]
    for name, value in item.meta.items():
        if isinstance(value, str):
            strings.append(value)
        elif isinstance(value, list) and all(isinstance(v, str) for v in value):
            strings += value
        elif not (
            value is None or isinstance(value, int)
            or (isinstance(value, float) and math.isfinite(value))
        ):  # fmt: skip
            raise StoreError(
                f"{item.key!r}: meta {name!r} is no text, number, truth value or list of texts"
            )
    if not storable("".join(strings)):
        raise StoreError(f"{item.key!r}: its text is no valid Unicode")


def storable(text: str) -> bool:
    """Return whether a text can be in the database: it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def to_values(item: Item, pos: int, vector_crc: int) -> tuple[Any, ...]:
    """Return the values of `NAMES` for an item that passed `check`."""
    meta = _dumps(dict(item.meta)) if item.meta else "{}"
    values = (item.key, item.kind, item.uri, item.text, item.stamp, item.content, meta, pos,
              vector_crc)  # fmt: skip
    return *values, _crc(values)


def to_row(item: Item, pos: int, vector_crc: int) -> dict[str, Any]:
    """Return the same by name."""
    return dict(zip(NAMES, to_values(item, pos, vector_crc), strict=True))


def to_item(row: Sequence[Any], store: Path) -> Item:
    """Return the item of a row of `COLUMNS`.

    Raises:
        StoreCorrupt: the row is not what was written.
    """
    try:
        changed = _crc(row[:9]) != row[9]
    except TypeError:
        changed = True
    if changed:
        raise StoreCorrupt(store, f"the row of {row[0]!r} has changed since it was written")
    key, kind, uri, text, stamp, content, meta = row[:7]
    # Not `json.loads`: what the checksum has passed is one object and nothing else.
    return Item(key, kind, uri, text, stamp, content, _decode(meta)[0])


def fetch(
    connection: sqlite3.Connection, collection: int, column: str, values: Iterable[Any],
    *, kind: str | None = None, columns: str = COLUMNS,
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """Yield the rows whose `column` (a name of ours, never a user's) is among the values."""
    values = [v for v in dict.fromkeys(values) if not isinstance(v, str) or storable(v)]
    more, bound = (" AND kind = ?", [kind]) if kind else ("", [])
    if 0 < len(values) <= FEW:
        # Not IN, which sorts the values into a table of its own first.
        sql = (
            f"WITH wanted (value) AS (VALUES {', '.join(['(?)'] * len(values))}) "
            f"SELECT {columns} FROM wanted CROSS JOIN item "
            f"ON collection_id = ?{more} AND {column} = value"
        )
        yield from connection.execute(sql, [*values, collection, *bound])
        return
    sql = f"SELECT {columns} FROM item WHERE collection_id = ?{more} AND {column} IN "
    for start in range(0, len(values), CHUNK):
        part = json.dumps(values[start : start + CHUNK])
        yield from connection.execute(
            f"{sql} (SELECT value FROM json_each(?))", [collection, *bound, part]
        ).fetchall()


def _crc(values: Sequence[Any]) -> int:
    """Return the checksum of the values of `NAMES` but the last: of them as a JSON array.

    Raises:
        TypeError: a value is of a type that was never written.
    """
    key, kind, uri, text, stamp, content, meta, pos, vector_crc = values
    # What `json.dumps` gives, in a third of the time.
    array = (
        f"[{_quoted(key)}, {_quoted(kind)}, {_quoted(uri)}, {_quoted(text)}, "
        f"{_quoted(stamp)}, {_quoted(content)}, {_quoted(meta)}, "
        f"{_number(pos)}, {_number(vector_crc)}]"
    )
    return zlib.crc32(array.encode())


def read_collection(connection: sqlite3.Connection, name: str) -> tuple[int, Space, str] | None:
    """Return id, space and model of the collection of that name, or None."""
    if not storable(name):
        return None
    row = connection.execute(
        "SELECT id, space, dim, metric, model FROM collection WHERE name = ?", [name]
    ).fetchone()
    return row and (row[0], Space(row[1], row[2], row[3]), row[4])
