"""A damaged database read row by row into a new one, which then takes its place."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from index_store import digest, rows, schema, verify
from index_store.db import DAMAGE, MENDED, META, read_connection
from index_store.disk import sync_data, sync_folder, write_error
from index_store.errors import StoreCorrupt, StoreError
from index_store.segment import HEADER_BYTES, header_fields
from index_store.shelf import VECTORS
from index_store.types import KINDS

# Row numbers tried one by one between damaged pages: some seconds; where neither the first nor
# the last row can be read there is little hope.
GAP, FORLORN = 1_000_000, 20_000

Lose = Callable[..., None]
Row = dict[str, Any]


def needed(store: Path) -> bool:
    """Return whether the database is damaged, or names files and positions that are not there."""
    try:
        connection = read_connection(store)
    except StoreCorrupt:
        return True
    try:
        found = verify.database_problems(connection, store, full=True)
        return any(True for _ in (*found, *verify.place_problems(connection, store)))
    except (*DAMAGE, StoreError):
        return True
    finally:
        connection.close()


def salvage(store: Path, aside: Path, lose: Lose) -> None:
    """Put a new database, of all rows that are sound, in the place of the old one.

    Args:
        aside: a name for the old one, in a folder on the same disk.
        lose: called with the collection's name, a row of `rows.COLUMNS`, the reason, and
            whole=False, for each item that could be read but is not what was written.

    Raises:
        StoreCorrupt: the list of collections cannot be read. Nothing is changed.
    """
    if (store / MENDED).exists():  # killed last time, when only the exchange was left to do
        try:
            _exchange(store, aside)
        except OSError as error:
            raise write_error(store, error) from error
        return
    old = sqlite3.connect(store / META, isolation_level=None)
    old.text_factory = lambda data: data.decode("utf8", "surrogateescape")
    try:
        tables = {
            table.name: [
                dict(zip(table.c.keys(), row, strict=True)) for row in _readable(old, table.name)
            ]
            for table in (schema.collection, schema.segment, schema.failure, schema.item)
        }
        # All that is in the log goes into the file, so that the new file can do without one.
        with contextlib.suppress(*DAMAGE):
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        with contextlib.suppress(sqlite3.Error):
            old.close()
    collections = _distinct(map(_with_dim(store), tables["collection"]))
    if not collections:
        raise StoreCorrupt(
            store / META, "not even its list of collections can be read; restore a snapshot "
            "(mmsearch restore) or index anew into another folder"
        )  # fmt: skip
    new = store / f"{META}.new"
    try:
        new.unlink(missing_ok=True)
        _write(new, store, collections, tables, lose)
        new.replace(store / MENDED)
        sync_folder(store)
        _exchange(store, aside)
    except (OSError, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise write_error(store, cause) from error


def _readable(connection: sqlite3.Connection, table: str) -> Iterator[Sequence[Any]]:
    """Yield all rows that can be read: from both ends, then one by one between them."""
    low, high, gap = 0, 1 << 62, FORLORN
    for direction in ("ASC", "DESC"):
        last = None
        sql = f"SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid > {low} ORDER BY rowid"
        try:
            for row in connection.execute(f"{sql} {direction}"):
                last, gap = row[0], GAP
                yield row[1:]
            return
        except DAMAGE:
            if direction == "ASC":
                low = last or low
            else:
                high = last or high
    for rowid in range(low + 1, min(high, low + gap)):
        with contextlib.suppress(*DAMAGE):
            yield from connection.execute(
                f"SELECT * FROM {table} NOT INDEXED WHERE rowid = {rowid}"
            )


def _with_dim(store: Path) -> Callable[[Row], Row]:
    """Return what puts the vectors' length that the files tell into a collection's row."""
    told: dict[str, set[int]] = {}
    for file in (store / VECTORS).glob("c*-*-*.vec"):
        with contextlib.suppress(StoreCorrupt):
            told.setdefault(file.name[1:].split("-")[0], set()).add(header_fields(file)[0])

    def corrected(row: Row) -> Row:
        dims = told.get(str(row["id"]), set())
        return row | {"dim": dims.pop()} if len(dims) == 1 else row

    return corrected


def _distinct(found: Iterable[Row]) -> list[Row]:
    """Return what can be a collection; of two of one id or name the first."""
    kept: dict[Any, Row] = {}
    for row in found:
        if _is_collection(row) and all(row["name"] != k["name"] for k in kept.values()):
            kept.setdefault(row["id"], row)
    return list(kept.values())


def _is_collection(row: Row) -> bool:
    texts = all(isinstance(row[n], str) for n in ("name", "space", "metric", "model", "created"))
    return texts and isinstance(row["dim"], int) and row["dim"] > 0


def _write(
    new: Path, store: Path, collections: list[Row], tables: dict[str, list[Row]], lose: Lose
) -> None:
    """Write the new database file and make it durable."""
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(new))
    names = {c["id"]: c["name"] for c in collections}
    with engine.begin() as connection:
        schema.create_or_migrate(connection)
        for row in collections:
            connection.execute(insert(schema.collection).values(row))
        taken: set[tuple[int, str]] = set()
        places: set[tuple[int, str, int]] = set()
        ids: set[int] = set()
        renumbered: list[Row] = []
        for row in tables["item"]:
            if (reason := _fault(row, names)) or (row["collection_id"], row["key"]) in taken or (
                row["collection_id"], row["kind"], row["pos"]) in places:  # fmt: skip
                reason = reason or "there is a second row of its key or place"
                _lose(row, names, reason, lose, connection)
                continue
            taken.add((row["collection_id"], row["key"]))
            places.add((row["collection_id"], row["kind"], row["pos"]))
            if row["id"] in ids:  # of one of the two it has changed; the rest of both is whole
                renumbered.append({name: row[name] for name in row if name != "id"})
                continue
            ids.add(row["id"])
            connection.execute(insert(schema.item).values(row))
        for row in renumbered:  # after all that have ids, so beyond them
            connection.execute(insert(schema.item).values(row))
        for row in _segments(store, collections, tables):
            connection.execute(insert(schema.segment).values(row))
        for row in tables["failure"]:
            if row["collection_id"] in names and all(
                _is_text(row[n]) for n in row if n != "collection_id"
            ):
                connection.execute(insert(schema.failure).values(row).on_conflict_do_nothing())
        for id_ in names:
            digest.renew(connection, id_)
    engine.dispose()
    with new.open("rb+") as file:
        sync_data(file.fileno())


def _lose(row: Row, names: dict[int, str], reason: str, lose: Lose, connection: Any) -> None:
    columns = rows.COLUMNS.split(", ")
    lose(names.get(row["collection_id"], ""), [row[c] for c in columns], reason, whole=False)
    if row["collection_id"] in names and _is_text(row["key"]) and _is_text(row["uri"]):
        values = {"collection_id": row["collection_id"], "key": row["key"], "uri": row["uri"],
                  "reason": reason, "stamp": ""}  # fmt: skip
        connection.execute(insert(schema.failure).values(values).on_conflict_do_nothing())


def _fault(row: Row, names: dict[int, str]) -> str:
    """Return why a row cannot be kept; "" if it is what was written."""
    if row["collection_id"] not in names or row["kind"] not in KINDS:
        return "its row belongs to no collection or kind"
    if not isinstance(row["pos"], int) or not isinstance(row["seq"], int):
        return "its row has changed since it was written"
    columns = rows.COLUMNS.split(", ")
    try:
        rows.check(rows.to_item([row[c] for c in columns], Path()))
    except (StoreError, TypeError, ValueError):
        return "its row has changed since it was written"
    return ""


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _segments(store: Path, collections: list[Row], tables: dict[str, list[Row]]) -> Iterator[Row]:
    """Yield the segments: those whose rows agree with their files, then what files tell."""
    known = {s["file"]: s for s in tables["segment"] if isinstance(s["file"], str)}
    dims = {c["id"]: c["dim"] for c in collections}
    for file in sorted((store / VECTORS).glob("c*-*-*.vec")):
        owner, kind, *_ = file.name[1:].split("-")
        if not owner.isdigit() or int(owner) not in dims or kind not in KINDS:
            continue
        row = known.get(file.name)
        try:
            dim, base, name = header_fields(file)
        except StoreCorrupt:
            if row and _agrees(row, int(owner), kind):
                yield {k: v for k, v in row.items() if k != "id"}
            continue
        if dim != dims[int(owner)]:
            continue
        slots = (file.stat().st_size - HEADER_BYTES) // (dim * 2)
        if row and _agrees(row, int(owner), kind) and row["base"] == base:
            slots = max(slots, row["slots"]) if row["slots"] < 1 << 40 else slots
        elif row is None and not _needs(tables["item"], int(owner), kind, base, base + slots):
            continue  # a crash left it, nothing ever named it
        yield {"collection_id": int(owner), "kind": kind, "base": base, "slots": slots,
               "file": file.name, "uuid": name}  # fmt: skip


def _agrees(row: Row, owner: int, kind: str) -> bool:
    whole = all(isinstance(row[n], int) and row[n] >= 0 for n in ("base", "slots"))
    try:
        uuid.UUID(row["uuid"])
    except (ValueError, AttributeError, TypeError):
        return False
    return whole and (row["collection_id"], row["kind"]) == (owner, kind)


def _needs(items: list[Row], owner: int, kind: str, low: int, high: int) -> bool:
    return any(
        i["collection_id"] == owner and i["kind"] == kind and isinstance(i["pos"], int)
        and low <= i["pos"] < high
        for i in items
    )  # fmt: skip


def _exchange(store: Path, aside: Path) -> None:
    """Give the old database a name aside, then its place to the new one.

    From the moment that its log is gone the old one is no longer whole, so until the end the new
    one's name keeps everybody out of the store.
    """
    if not aside.exists():
        os.link(store / META, aside)
    for end in ("-wal", "-shm"):
        # Frames of the old log over the new file would damage it.
        log = store / f"{META}{end}"
        if log.exists() and log.stat().st_size and end == "-wal":
            shutil.copyfile(log, f"{aside}{end}")
        log.unlink(missing_ok=True)
    sync_folder(aside.parent)
    sync_folder(store)
    (store / MENDED).replace(store / META)
    sync_folder(store)
