"""The one process that writes: every call is one transaction, durable when it returns.

The order makes it so: vectors into the segment file and to the disk first, then one
transaction with the rows and the new number of slots. That COMMIT is the commit point.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from index_store import adding, digest, rows, schema
from index_store.db import driver
from index_store.disk import write_error
from index_store.errors import KeyTaken, StoreError, StoreReadOnly
from index_store.shelf import IndexFile
from index_store.types import AddReport, Failure, Item, Kind, Space, Vectors

Row = dict[str, Any]


class Writer:
    """Writes to one store. After a disk error it refuses all further writes: what the
    kernel dropped cannot be known, so only reopening tells what is there."""

    def __init__(self, engine: Engine, store: Path) -> None:
        self._engine = engine
        self._store = store
        self._broken: StoreError | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection inside one transaction; commit at the end, else roll back.

        Raises:
            StoreFull, StoreReadOnly, WriteFailed: the disk would not take it; rolled back.
        """
        if self._broken:
            raise self._broken
        try:
            with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise self.failed(cause) from error

    def failed(self, cause: BaseException) -> StoreError:
        """Take no further writes, since the disk refused one; return the error to raise."""
        self._broken = write_error(self._store, cause)
        return self._broken

    def close(self) -> None:
        """Take no further writes: the lock is given back, and another process may write."""
        self._broken = self._broken or StoreReadOnly(self._store, "it was closed; open it again")

    def create_collection(self, name: str, space: Space, model: str) -> int:
        """Insert a collection and return its id."""
        with self.transaction() as connection:
            row = {
                "name": name,
                "space": space.name,
                "dim": space.dim,
                "metric": space.metric,
                "model": model,
                "seq": 0,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            result = connection.execute(
                insert(schema.collection).values(row).returning(schema.collection.c.id)
            )
            id_ = int(result.scalar_one())
            digest.renew(connection, id_)
            return id_

    def replace_collection(self, name: str, by: str | None) -> None:
        """Delete the collection `name`, and in the same transaction give its name to `by`."""
        table = schema.collection
        with self.transaction() as connection:
            touched = select(table.c.id).where(table.c.name.in_([name, by or name]))
            ids = connection.execute(touched).scalars().all()
            connection.execute(delete(table).where(table.c.name == name))
            if by is not None:
                connection.execute(update(table).where(table.c.name == by).values(name=name))
            for id_ in ids:
                digest.renew(connection, id_)

    def add(self, collection: int, items: Sequence[Item], vectors: Vectors) -> AddReport:
        """Insert or replace items with their vectors, all or none. See `Collection.add`."""
        halves = adding.to_halves(vectors, len(items))
        for item in items:
            rows.check(item)
        with self.transaction() as connection:
            raw = driver(connection)
            report = adding.add(raw, self._store, collection, items, halves)
            if adding.failed_before(raw, collection):
                self._forget_failures(connection, collection, [i.key for i in items])
        return report

    def update(self, collection: int, items: Sequence[Item]) -> int:
        """Replace all but the vectors of items that are there; return how many were."""
        for item in items:
            rows.check(item)
        known = schema.item.c
        found = 0
        with self.transaction() as connection:
            seq = self._next_seq(connection, collection)
            for item in items:
                mine = (known.collection_id == collection) & (known.key == item.key)
                old = connection.execute(
                    select(known.kind, known.pos, known.vector_crc).where(mine)
                ).one_or_none()
                if old is None:
                    continue
                if old.kind != item.kind:
                    raise StoreError(f"{item.key}: its kind can be changed by `add` alone")
                row = rows.to_row(item, old.pos, old.vector_crc)
                connection.execute(update(schema.item).where(mine).values(row | {"seq": seq}))
                found += 1
        return found

    def delete(self, collection: int, keys: Sequence[str]) -> int:
        """Delete items and failures of these keys; return how many items there were."""
        with self.transaction() as connection:
            self._next_seq(connection, collection)
            gone = self._forget(connection, schema.item, collection, keys)
            self._forget_failures(connection, collection, keys)
            return len(gone)

    def add_failures(self, collection: int, failures: Sequence[Failure]) -> None:
        """Remember sources that could not be stored; a newer reason replaces the older."""
        with self.transaction() as connection:
            self._insert_failures(connection, collection, failures)

    def clear_failures(self, collection: int, keys: Sequence[str]) -> None:
        with self.transaction() as connection:
            self._forget_failures(connection, collection, keys)

    def publish(
        self, collection: int, kind: Kind, file: IndexFile | None, *, lasting: bool = False
    ) -> list[str]:
        """Make an index file, durable already, the current one; return the retired files.

        The one before it is kept for readers that have just learnt its name. None: no index is
        current from now on, and all are retired; lasting: none is to be built by itself either.
        A file over rows that a compaction has moved
        while it was built comes back as retired itself.
        """
        table = schema.idx.c
        mine = (table.collection_id == collection) & (table.kind == kind)
        with self.transaction() as connection:
            if file is not None and self._first(connection, collection, kind) != file.base:
                return [file.path.name]
            self._next_seq(connection, collection)
            key = schema.kv.c.key == schema.exact_key(collection, kind)
            connection.execute(delete(schema.kv).where(key))
            if lasting and file is None:
                row = {"key": schema.exact_key(collection, kind), "value": "1"}
                connection.execute(insert(schema.kv).values(row))
            if file is not None:
                values = {
                    "collection_id": collection,
                    "kind": kind,
                    "type": file.type,
                    "base": file.base,
                    "upto": file.upto,
                    "file": file.path.name,
                    "size": file.size,
                    "blake2b": file.blake2b,
                }
                connection.execute(insert(schema.idx).values(values))
            kept = 2 if file else 0
            newest = (
                select(table.generation).where(mine).order_by(table.generation.desc()).limit(kept)
            )
            old = mine & table.generation.not_in(newest)
            retired = list(connection.execute(select(table.file).where(old)).scalars())
            connection.execute(delete(schema.idx).where(old))
        return retired

    def _first(self, connection: Connection, collection: int, kind: Kind) -> int | None:
        """Return the first position of a shelf."""
        table = schema.segment.c
        mine = (table.collection_id == collection) & (table.kind == kind)
        return connection.execute(select(func.min(table.base)).where(mine)).scalar()

    def drop_indexes(self, collection: int, kind: Kind) -> list[str]:
        """Forget all indexes of one shelf; return their files."""
        table = schema.idx
        mine = (table.c.collection_id == collection) & (table.c.kind == kind)
        with self.transaction() as connection:
            gone = connection.execute(delete(table).where(mine).returning(table.c.file))
            files = list(gone.scalars())
            if files:
                self._next_seq(connection, collection)
        return files

    def rekey(
        self, collection: int, name: str,
        items: Mapping[str, Item], failures: Mapping[str, Failure],
    ) -> None:  # fmt: skip
        """Give items and failures new keys and values; see `Collection.rekey`."""
        table = schema.item
        for item in items.values():
            rows.check(item)
        with self.transaction() as connection:
            seq = self._next_seq(connection, collection)
            new = [item.key for item in items.values() if item.key not in items]
            if taken := self._known(connection, collection, new):
                raise KeyTaken(name, taken)
            old = {
                row.key: row
                for start in range(0, len(items), rows.CHUNK)
                for row in connection.execute(
                    select(table.c.id, table.c.key, table.c.pos, table.c.vector_crc).where(
                        table.c.collection_id == collection,
                        table.c.key.in_(list(items)[start : start + rows.CHUNK]),
                    )
                )
            }
            # First out of the way: a new key may be another item's old one.
            away = update(table).where(table.c.id == bindparam("row"))
            moved = [(old[k], item) for k, item in items.items() if k in old]
            if moved:
                connection.execute(
                    away.values(key=bindparam("away")),
                    [{"row": r.id, "away": f"\0{r.id}"} for r, _ in moved],
                )
                values = [rows.to_row(i, r.pos, r.vector_crc) | {"seq": seq} for r, i in moved]
                names: Row = {n: bindparam(f"new_{n}") for n in values[0]}
                connection.execute(
                    away.values(names),
                    [
                        {"row": r.id} | {f"new_{n}": v for n, v in row.items()}
                        for (r, _), row in zip(moved, values, strict=True)
                    ],
                )
            self._forget_failures(connection, collection, list(failures))
            self._insert_failures(connection, collection, list(failures.values()))

    def _known(self, connection: Connection, collection: int, keys: Sequence[str]) -> list[str]:
        """Return those of the keys that items have."""
        table = schema.item.c
        found: list[str] = []
        for start in range(0, len(keys), rows.CHUNK):
            some = table.key.in_(list(keys[start : start + rows.CHUNK]))
            found += connection.execute(
                select(table.key).where(table.collection_id == collection, some)
            ).scalars()
        return sorted(found)

    def _next_seq(self, connection: Connection, collection: int) -> int:
        table = schema.collection
        statement = update(table).where(table.c.id == collection).values(seq=table.c.seq + 1)
        return int(connection.execute(statement.returning(table.c.seq)).scalar_one())

    def _insert_failures(
        self, connection: Connection, collection: int, failures: Sequence[Failure]
    ) -> None:
        # Of two with the same key the later stays.
        new = {f.key: (collection, f.key, f.uri, f.reason, f.stamp) for f in failures}
        self._forget_failures(connection, collection, list(new))
        table = schema.failure
        values = [dict(zip(table.c.keys(), row, strict=True)) for row in new.values()]
        if values:
            connection.execute(insert(table), values)
            digest.change(connection, collection, [], new.values())

    def _forget_failures(
        self, connection: Connection, collection: int, keys: Sequence[str]
    ) -> None:
        gone = self._forget(connection, schema.failure, collection, keys)
        if gone:
            digest.change(connection, collection, gone, [])

    def _forget(
        self, connection: Connection, table: Table, collection: int, keys: Sequence[str]
    ) -> list[Sequence[Any]]:
        """Delete the rows of these keys and return them."""
        gone: list[Sequence[Any]] = []
        for start in range(0, len(keys), rows.CHUNK):
            some = table.c.key.in_(list(keys[start : start + rows.CHUNK]))
            statement = delete(table).where(table.c.collection_id == collection, some)
            gone += [tuple(r) for r in connection.execute(statement.returning(*table.c))]
        return gone
