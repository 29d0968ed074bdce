"""A folder that holds collections: one SQLite file is the truth, the rest follows it.

STORE/ lock      held by the one writer
       meta.db   rows, and how much of each file counts
       vec/      vectors, append-only
       idx/      indexes, derived: deleting one loses no answer
       lex/      words, derived: read anew when they are next asked for
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from index_store.collection import Collection
from index_store.db import DAMAGE, META, ReadPool, not_found, read_connection, writer_engine
from index_store.disk import make_folder, network_file_system, sync_folder, write_error
from index_store.errors import (
    CollectionExists,
    CollectionNotFound,
    RestoreCutShort,
    StoreCorrupt,
    StoreError,
    StoreLocked,
    StoreNotFound,
    StoreReadOnly,
)
from index_store.rows import read_collection, storable
from index_store.shelf import INDEXES, VECTORS, read_segments
from index_store.types import KINDS, Space

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from sqlalchemy import Engine

    from index_store.reports import Problem

LOCK = "lock"
SNAPSHOT = "snapshot"  # the key, in kv, of when a snapshot was taken


class Store:
    """Opened by `Store.open`; a context manager. Readers see every commit at once."""

    def __init__(
        self, path: Path, *, engine: Engine | None = None, lock: BaseFileLock | None = None
    ) -> None:
        self.path = path
        self._engine, self._lock = engine, lock
        self._readers = ReadPool(path)
        self._writer = None
        if engine is not None:
            from index_store.writer import Writer

            self._writer = Writer(engine, path)

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False, readonly: bool = False) -> Store:
        """Open the store in the folder `path`.

        A writer takes the lock, drops what a crash left behind, and checks that all that was
        committed is there.

        Args:
            create: make folder and store if there is none.
            readonly: take no lock; any number of readers may be beside one writer.

        Raises:
            StoreNotFound: no store there, and not to be created.
            RestoreCutShort: none there, since a restore was killed; not created either.
            StoreLocked: another process writes to it.
            StoreReadOnly: the folder cannot be written, or is on a network file system.
            StoreTooNew: a newer version wrote it.
            StoreCorrupt: files contradict the database.
            StoreFull: no room to create it.
        """
        path = Path(path)
        if readonly:
            read_connection(path).close()
            return cls(path)
        if not (path / META).is_file():
            missing = not_found(path)
            if not create or isinstance(missing, RestoreCutShort):
                raise missing
        lock = take_lock(path)
        try:
            if (path / META).exists():
                refuse_newer_and_snapshots(path)
            engine = open_engine(path)
            store = cls(path, engine=engine, lock=lock)
            store.recover()
        except BaseException:
            lock.release()
            raise
        return store

    def create_collection(self, name: str, space: Space, *, model: str = "") -> Collection:
        """Create a collection. model: the spec that makes its encoder again.

        Raises:
            CollectionExists: there is one of that name.
            StoreReadOnly: opened for reading.
            StoreError: the name is no valid Unicode (a lone surrogate).
        """
        if self._writer is None:
            raise StoreReadOnly(self.path, "it was opened for reading")
        if not storable(name):
            raise StoreError(f"a collection cannot be called {name!r}: it is no valid Unicode")
        if name in self.collections():
            raise CollectionExists(name)
        self._writer.create_collection(name, space, model)
        return self.collection(name)

    def collection(self, name: str) -> Collection:
        """Return the collection of that name.

        Raises:
            CollectionNotFound: there is none; the error lists those there are.
        """
        with self._readers.snapshot() as connection:
            found = read_collection(connection, name)
        if found is None:
            raise CollectionNotFound(name, self.collections())
        id_, space, model = found
        return Collection(
            self.path, id_, name, space, model, readers=self._readers, writer=self._writer
        )

    def collections(self) -> list[str]:
        """Return the names of all collections, sorted."""
        with self._readers.snapshot() as connection:
            return [n for (n,) in connection.execute("SELECT name FROM collection ORDER BY name")]

    def drop_collection(self, name: str) -> None:
        """Delete a collection and all that it holds, in one transaction.

        Raises:
            CollectionNotFound: there is none of that name.
            StoreReadOnly: opened for reading.
        """
        self._replace(name, None)

    def replace_collection(self, name: str, by: str) -> Collection:
        """Put collection `by` in the place of `name`, which is deleted, in one transaction.

        Readers see the old one or the new one, never neither; who still holds the old one is
        told by CollectionNotFound.

        Raises:
            CollectionNotFound: one of the two is not there.
            StoreReadOnly: opened for reading.
        """
        self.collection(by)
        self._replace(name, by)
        return self.collection(name)

    def _replace(self, name: str, by: str | None) -> None:
        if self._writer is None:
            raise StoreReadOnly(self.path, "it was opened for reading")
        self.collection(name)
        self._writer.replace_collection(name, by)
        self.recover()

    def verify(self, *, full: bool = False) -> list[Problem]:
        """Return what is wrong; empty if all is well.

        Quick: the database's own check, the sizes and headers of all files, counts, and the
        hash of the indexes. Full: every row and vector against its checksum besides.
        """
        from index_store.verify import verify

        return verify(self.path, full=full)

    def close(self) -> None:
        """Close everything and give the lock back; collections that are held take no writes."""
        if self._writer is not None:
            self._writer.close()
        self._readers.close()
        if self._engine is not None:
            self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def recover(self) -> None:
        """Cut tails that were never committed, remove files that nothing names.

        Raises:
            StoreCorrupt: a segment is missing or shorter than committed.
        """
        named, words = set(), set()
        with self._readers.snapshot() as connection:
            for id_, dim in connection.execute("SELECT id, dim FROM collection").fetchall():
                words.add(f"c{id_}")
                for kind in KINDS:
                    for segment in read_segments(connection, id_, kind, dim, self.path):
                        segment.cut_tail()
                        named.add(segment.path)
            files = connection.execute("SELECT file FROM idx")
            named.update(self.path / INDEXES / file for (file,) in files)
        from index_store.lexical import LEXICAL
        from index_store.publish import retire

        for folder in (VECTORS, INDEXES):
            for path in (self.path / folder).iterdir():
                if path not in named:
                    retire(path)
        for path in (self.path / LEXICAL).glob("*.db*"):
            if path.name.partition(".")[0] not in words:
                retire(path)


def take_lock(path: Path) -> BaseFileLock:
    """Make the folders and take the writer's lock; see `Store.open` for errors."""
    from filelock import FileLock, Timeout

    try:
        for folder in (path, path / VECTORS, path / INDEXES):
            make_folder(folder)
        if not (path / META).exists():
            # A process that was killed here before may have made the folders, not synced them.
            sync_folder(path.absolute().parent)
            sync_folder(path)
        if remote := network_file_system(path):
            raise StoreReadOnly(
                path, f"it is on a network file system ({remote}), where a crash could lose data; "
                "put the index on a local disk (the pictures may stay where they are)"
            )  # fmt: skip
        lock = FileLock(path / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise StoreLocked(path) from error
    except OSError as error:
        raise write_error(path, error) from error
    return lock


def refuse_newer_and_snapshots(path: Path) -> None:
    """Look at format and purpose before anything is written; see `Store.open` for errors."""
    try:
        connection = read_connection(path)
    except StoreNotFound:
        return  # a crash before the first commit: the file has no tables yet
    try:
        taken = connection.execute("SELECT value FROM kv WHERE key = ?", [SNAPSHOT]).fetchone()
    except DAMAGE as error:
        raise StoreCorrupt(path / META, str(error)) from error
    finally:
        connection.close()
    if taken:
        # Its files may be those of the store that it was taken of.
        raise StoreReadOnly(
            path, f"it is a snapshot of {taken[0]}; mmsearch restore makes a store of it"
        )


def open_engine(path: Path) -> Engine:
    """Return an engine on the database, brought to the current format; see `Store.open`."""
    from sqlalchemy.exc import DBAPIError

    from index_store.schema import create_or_migrate

    engine = writer_engine(path)
    try:
        with engine.begin() as connection:
            create_or_migrate(connection)
    except (DBAPIError, sqlite3.Error) as error:
        engine.dispose()
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise write_error(path, cause or error) from error
    return engine
