"""Connections to the store's SQLite file: SQLAlchemy to write, the standard library to read."""

from __future__ import annotations

import glob
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from index_store.errors import (
    RestoreCutShort,
    StoreCorrupt,
    StoreError,
    StoreNotFound,
    StoreTooNew,
)
from index_store.geo import great_circle_km

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FORMAT = 1
META = "meta.db"
MENDED = f"{META}.mended"  # a whole new database, which a repair is about to put in META's place
BUSY_TIMEOUT_S = 10.0
SNAPSHOTS = 5  # taken before a file that vanished is called damage

# What the driver raises of a damaged database: it cannot even decode some of SQLite's messages.
DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)

P = ParamSpec("P")
R = TypeVar("R")


def writer_engine(store: Path) -> Engine:
    """Return an engine whose every transaction takes the write lock at once and is durable.

    The connection rolls DDL back too: the driver's own transaction handling is off
    (`isolation_level=None`) and BEGIN IMMEDIATE is sent by hand.
    """
    from sqlalchemy import create_engine, event

    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            store / META, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        ),
    )

    def configure(connection: sqlite3.Connection, _record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            # NORMAL loses acknowledged commits when the power fails.
            "synchronous=FULL",
            "fullfsync=ON",
            "foreign_keys=ON",
            # KiB: keys and hashes come in no order, so each row of a batch touches a page of its
            # own in their indexes.
            "cache_size=-32768",
        ):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the sqlite3 connection that is inside this transaction."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def read_connection(store: Path) -> sqlite3.Connection:
    """Return a read-only connection.

    In a folder that cannot be written (a mounted snapshot, a CD) SQLite cannot make the
    WAL's shared memory; if no WAL is left there the file is complete and can be read as
    immutable.

    Raises:
        StoreNotFound: there is no store in that folder.
        RestoreCutShort: there would be one if a restore had not been killed.
        StoreTooNew: a newer version wrote it.
        StoreCorrupt: it is no SQLite file, its tables are missing, or a repair was cut short.
    """
    path = store / META
    if not path.is_file():
        raise not_found(store)
    if (store / MENDED).exists():
        # The log of the old database may be gone already.
        raise StoreCorrupt(path, "a repair was cut short; run it again: mmsearch repair")
    if (store / f"{META}-journal").exists() and not any(store.glob("vec/*.vec")):
        # Only while the file is made does it have such a journal: the power failed before the
        # first commit. A reader cannot roll it back; the next writer does.
        raise StoreNotFound(store)
    uri = path.absolute().as_uri()
    try:
        return _checked(store, _connect(f"{uri}?mode=ro"))
    except sqlite3.OperationalError as error:
        wal = store / f"{META}-wal"
        if wal.exists() and wal.stat().st_size:
            raise StoreCorrupt(path, f"cannot be read ({error})") from error
    try:
        return _checked(store, _connect(f"{uri}?mode=ro&immutable=1"))
    except sqlite3.OperationalError as error:
        raise StoreCorrupt(path, f"cannot be read ({error})") from error


def not_found(store: Path) -> StoreNotFound:
    """Return the error that says why there is no store."""
    asides = sorted(store.parent.glob(f"{glob.escape(store.name)}.before-*"))
    if asides and not store.exists() and unfinished(store):
        return RestoreCutShort(store, asides[-1])
    return StoreNotFound(store)


def unfinished(store: Path) -> list[Path]:
    """Return the folders of copies to this place that were begun and not ended."""
    return sorted(store.parent.glob(f"{glob.escape(store.name)}.{'[0-9a-f]' * 8}.part"))


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    # Not every SQLite has trigonometry of its own.
    connection.create_function("great_circle_km", 4, _km, deterministic=True)
    return connection


def _km(*degrees: object) -> float | None:
    """Return `great_circle_km`; NULL where a field is missing or no number."""
    if not all(isinstance(d, int | float) for d in degrees):
        return None
    return great_circle_km(*degrees)  # type: ignore[arg-type]


def _checked(store: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        check_format(store, connection)
        # KiB: hits lie anywhere, so each takes pages of its own.
        connection.execute("PRAGMA cache_size = -16384")
    except BaseException:
        connection.close()
        raise
    return connection


def check_format(store: Path, connection: sqlite3.Connection) -> None:
    """Refuse a database of a newer format, and one that is no store."""
    try:
        found = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'kv'"
        ).fetchone()[0]
        row = found and connection.execute("SELECT value FROM kv WHERE key = 'format'").fetchone()
    except sqlite3.OperationalError:
        raise
    except DAMAGE as error:
        raise StoreCorrupt(store / META, str(error)) from error
    if not row and any(store.glob("vec/*.vec")):
        # Taken for a store that was never filled, its vectors would be cleared away.
        raise StoreCorrupt(store / META, "its tables are missing")
    if not row:
        raise StoreNotFound(store)
    if not str(row[0]).isdigit() or row[0] == "0":
        raise StoreCorrupt(store / META, f"it says that its format is {row[0]!r}")
    if int(row[0]) > FORMAT:
        raise StoreTooNew(store, int(row[0]), FORMAT)


class ReadPool:
    """One read-only connection a thread, opened on first use."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside one read transaction: all it sees is of one moment."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = read_connection(self._store)
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.OperationalError as error:
            raise StoreError(f"the index cannot be read just now: {error}") from error
        except DAMAGE as error:
            raise StoreCorrupt(self._store / META, str(error)) from error
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()


def on_the_newest(method: Callable[P, R]) -> Callable[P, R]:
    """Call again, and so on a newer snapshot, where a file of the first one is gone.

    A compaction removes the files of the commit before it, which a reader may have learnt
    about and not opened yet.
    """

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(SNAPSHOTS - 1):
            try:
                return method(*args, **kwargs)
            except StoreCorrupt as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return method(*args, **kwargs)

    return call
