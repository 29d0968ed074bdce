"""Filters as bitmaps over positions, kept while nothing is committed.

The database answers a filter by reading every row, which takes much longer than the search
itself; asked again with the same filter, a collection needs no database for it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from index_store.scan import Mask
from index_store.types import Kind

if TYPE_CHECKING:
    from index_store.where import Where

KEPT = 16


class Masks:
    """The bitmaps of the last filters. Safe to use from threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, Kind, str], Mask] = OrderedDict()
        self._lock = threading.Lock()

    def passing(
        self, connection: sqlite3.Connection, collection: int, kind: Kind, where: Where,
        *, seq: int, end: int,
    ) -> Mask:  # fmt: skip
        """Return, by position below `end`, whether it belongs to an item that passes.

        Args:
            seq: of the connection's snapshot; a later commit makes a new bitmap.

        Raises:
            BadFilter: `where` cannot be understood.
        """
        from index_store.where import to_sql

        condition, values = to_sql(where)
        # Not the filter itself: to Python 1, 1.0 and True are equal, to SQLite 1 and '1' are not.
        key = seq, kind, f"{condition} {values!r}"
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        mask = np.zeros(end, np.bool_)
        mask[select(connection, collection, kind, condition, values)] = True
        mask.flags.writeable = False
        with self._lock:
            self._kept[key] = mask
            for old in [k for k in self._kept if k[0] < seq] or list(self._kept)[:-KEPT]:
                del self._kept[old]
        return mask


def live_rows(connection: sqlite3.Connection, collection: int, kind: Kind, end: int) -> Mask:
    """Return, by position below `end`, whether it belongs to an item."""
    live = np.zeros(end, np.bool_)
    live[select(connection, collection, kind)] = True
    return live


def select(
    connection: sqlite3.Connection, collection: int, kind: Kind,
    condition: str = "1", values: list[object] | None = None,
) -> list[int]:  # fmt: skip
    """Return the positions of the items for which the condition over table `item` holds."""
    sql = f"SELECT pos FROM item WHERE collection_id = ? AND kind = ? AND {condition}"
    return [p for (p,) in connection.execute(sql, [collection, kind, *(values or [])])]
