"""Bring a damaged store back to what verifies: keep what is sound, set the rest aside.

Nothing is thrown away: damaged files and rows go to STORE/quarantine, and every item that was
lost becomes a remembered failure, so that the next ingest tries it again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.sqlite import insert

from index_store import digest, salvage, schema, verify
from index_store.compact import repack
from index_store.db import driver, read_connection
from index_store.disk import make_folder, sync_data, sync_folder
from index_store.errors import StoreCorrupt
from index_store.publish import retire
from index_store.reports import Lost, Problem, RepairReport
from index_store.shelf import read_segments
from index_store.store import Store, open_engine, refuse_newer_and_snapshots, take_lock
from index_store.types import KINDS, Item, Kind
from index_store.writer import Writer

QUARANTINE = "quarantine"


@dataclass(slots=True)
class _Work:
    path: Path
    folder: Path
    stamp: str
    lost: list[Lost] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def lose(self, collection: str, row: Sequence[Any], reason: str, *, whole: bool) -> None:
        key, kind, uri, text, stamp, content, meta = row[:7]
        self.rows.append({"collection": collection, "reason": reason, "row": [str(v) for v in row]})
        item = Item(str(key), "text" if kind == "text" else "image")
        if whole:
            item = Item(key, kind, uri, text, stamp, content, json.loads(meta))
        self.lost.append(Lost(collection, item, reason, whole))


def repair(path: str | Path) -> RepairReport:
    """Repair the store in the folder `path` and return what was found and what was lost.

    A sound store is not changed. Killed at any moment, it can be called again.

    Raises:
        StoreNotFound, StoreLocked, StoreReadOnly, StoreTooNew: as `Store.open`.
        StoreCorrupt: not even the list of collections can be read; nothing is changed.
        StoreFull, WriteFailed: what was not done yet is as it was.
    """
    path = Path(path)
    found = tuple(verify.verify(path, full=True))
    if not found:
        return RepairReport((), (), None)
    with contextlib.suppress(StoreCorrupt):
        refuse_newer_and_snapshots(path)
    lock = take_lock(path)
    try:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        work = _Work(path, path / QUARANTINE, stamp)
        make_folder(work.folder)
        if salvage.needed(path):
            salvage.salvage(path, work.folder / f"meta.db-{stamp}", work.lose)
            _write_rows(work)
        engine = open_engine(path)
    except BaseException:
        lock.release()
        raise
    with Store(path, engine=engine, lock=lock) as store:
        writer = Writer(engine, path)
        for id_, name, dim, kind in _shelves(path):
            _mend(writer, work, id_, name, dim, kind)
        store.recover()
    return RepairReport(found, tuple(work.lost), work.folder)


def _shelves(path: Path) -> list[tuple[int, str, int, Kind]]:
    connection = read_connection(path)
    try:
        found = connection.execute("SELECT id, name, dim FROM collection ORDER BY id").fetchall()
    finally:
        connection.close()
    return [(id_, name, dim, kind) for id_, name, dim in found for kind in KINDS]


def _mend(writer: Writer, work: _Work, id_: int, name: str, dim: int, kind: Kind) -> None:
    """Repack one shelf if its vectors are damaged; forget its index if that is."""
    retired: list[Path] = []
    with writer.transaction() as connection:
        raw = driver(connection)
        segments = read_segments(raw, id_, kind, dim, work.path)
        bad = list(verify.vector_problems(raw, id_, name, kind, segments))
        if bad:
            lost: list[Lost] = []

            def lose(row: Sequence[Any], reason: str) -> None:
                work.lose(name, row, reason, whole=True)
                lost.append(work.lost[-1])

            done = repack(connection, work.path, id_, kind, dim, lost=lose)
            _remember(connection, id_, lost)
            _set_aside([p for p in done.old_files if p.suffix == ".vec"], bad, work)
            _write_rows(work)
            retired = done.old_files
        elif list(verify.index_problems(raw, id_, kind, work.path)):
            mine = (schema.idx.c.collection_id == id_) & (schema.idx.c.kind == kind)
            connection.execute(delete(schema.idx).where(mine))
    for old in retired:
        retire(old)


def _remember(connection: Any, collection: int, lost: Sequence[Lost]) -> None:
    """Note lost items as failures. No stamp: it makes the next ingest try again."""
    for one in lost:
        row = {"key": one.item.key, "uri": one.item.uri, "reason": one.reason, "stamp": ""}
        statement = insert(schema.failure).values(row | {"collection_id": collection})
        connection.execute(statement.on_conflict_do_update(["collection_id", "key"], set_=row))
    digest.renew(connection, collection)


def _set_aside(files: Sequence[Path], bad: Sequence[Problem], work: _Work) -> None:
    """Give damaged files a second name in the quarantine, before the first one goes."""
    named = {p.where for p in bad}
    for file in files:
        if file.name in named and file.exists():
            kept = work.folder / f"{file.name}-{work.stamp}"
            if not kept.exists():
                kept.hardlink_to(file)
    sync_folder(work.folder)


def _write_rows(work: _Work) -> None:
    """Write all rows lost so far, durable, before a commit lets them go."""
    if work.rows:
        file = work.folder / f"rows-{work.stamp}.jsonl"
        with file.open("w", encoding="utf8") as out:
            out.writelines(json.dumps(row) + "\n" for row in work.rows)
            out.flush()
            sync_data(out.fileno())
        sync_folder(work.folder)
