"""Whole copies of a store: snapshots, made while it is written to, and stores made of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from index_store.db import DAMAGE, META, SNAPSHOTS, read_connection, unfinished
from index_store.disk import make_folder, sync_data, sync_folder, write_error
from index_store.errors import StoreCorrupt, StoreError, TargetExists
from index_store.segment import Segment
from index_store.shelf import INDEXES, VECTORS, read_segments
from index_store.store import SNAPSHOT, take_lock
from index_store.types import KINDS
from index_store.verify import verify

BLOCK = 8 << 20  # bytes


def snapshot(
    store: str | Path, target: str | Path, *, links: bool = True,
    progress: Callable[[int], object] | None = None,
) -> None:  # fmt: skip
    """Write a copy of the store, as of one moment, into a new folder `target`.

    It can be searched and restored, not written to. Another process may write to the store
    meanwhile. Killed at any moment it leaves either the whole copy or a folder whose name
    ends in ".part".

    Args:
        links: share vector and index files with the store where the disk can (hard links):
            a moment's work and no room, but damage to the one is damage to the other.
        progress: called with the bytes of each file that is there.

    Raises:
        StoreNotFound, StoreTooNew, StoreCorrupt: as `Store.open`, of the store.
        TargetExists: there is something at `target`.
        StoreFull, WriteFailed, StoreReadOnly: `target` could not be written.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _copy(Path(store), Path(target), links=links, mark=stamp, full=False, progress=progress)


def restore(
    source: str | Path, target: str | Path, *, replace: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Path | None:  # fmt: skip
    """Make the snapshot (or store) `source` a store in `target`, every checksum compared.

    Args:
        replace: if there is a store in `target`, move it aside first. Killed between that and
            the new one's coming, there is none, and opening it raises RestoreCutShort; called
            again it is put right.
        progress: called with the bytes of each file that is there.

    Returns:
        Where the store is that was in `target` before; None if there was none.

    Raises:
        StoreNotFound, StoreTooNew, StoreCorrupt: of the source; nothing is changed.
        TargetExists: there is something at `target`, and not to be replaced.
        StoreLocked: another process writes to the store that is to be replaced.
        StoreFull, WriteFailed, StoreReadOnly: `target` could not be written.
    """
    source, target = Path(source), Path(target)
    aside, left = None, [] if target.exists() else unfinished(target)
    if replace and _is_taken(target):
        aside = _aside(target)
    _copy(source, target, links=False, mark=None, full=True, progress=progress, aside=aside)
    for part in left:  # of a restore that was killed; it would look as if this one was, too
        shutil.rmtree(part, ignore_errors=True)
    return aside


def _copy(
    source: Path, target: Path, *, links: bool, mark: str | None, full: bool,
    progress: Callable[[int], object] | None, aside: Path | None = None,
) -> None:  # fmt: skip
    read_connection(source).close()
    if aside is None and _is_taken(target):
        raise TargetExists(target)
    target = target.absolute()
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            for folder in (part, part / VECTORS, part / INDEXES):
                make_folder(folder)
            _fill(source, part, links=links, mark=mark, progress=progress)
            if problems := verify(part, full=full):
                raise StoreCorrupt(source, f"{problems[0].where}: {problems[0].what}")
            _put_in_place(part, target, aside)
        except (OSError, sqlite3.OperationalError) as error:
            raise write_error(target, error) from error
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _aside(target: Path) -> Path:
    """Return a name beside the target that nothing has."""
    name = f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"
    aside, n = target.with_name(name), 2
    while aside.exists():
        aside, n = target.with_name(f"{name}-{n}"), n + 1
    return aside


def _put_in_place(part: Path, target: Path, aside: Path | None) -> None:
    if aside is not None:
        lock = take_lock(target)
        lock.release()
        target.rename(aside)
    elif target.exists():
        target.rmdir()  # empty: it was looked at
    try:
        # Else a power cut could leave the new store in the old one's place, and no old one.
        sync_folder(target.parent)
        part.rename(target)
    except BaseException:
        if aside is not None and not target.exists():
            aside.rename(target)
        raise
    sync_folder(target.parent)


def _fill(
    source: Path, part: Path, *, links: bool, mark: str | None,
    progress: Callable[[int], object] | None,
) -> None:  # fmt: skip
    """Copy database and files; on a newer moment if a compaction removes them meanwhile."""
    for left in reversed(range(SNAPSHOTS)):
        _copy_database(source, part, mark)
        try:
            for name, size in _files(part):
                _copy_file(source / name, part / name, size, links=links)
                if progress:
                    progress(size)
            break
        except FileNotFoundError as error:
            if not left:
                raise StoreCorrupt(source, f"{error.filename} is missing") from error
    for folder in (part / VECTORS, part / INDEXES, part):
        sync_folder(folder)


def _copy_database(source: Path, part: Path, mark: str | None) -> None:
    (part / META).unlink(missing_ok=True)
    origin = read_connection(source)
    try:
        with contextlib.closing(sqlite3.connect(part / META, isolation_level=None)) as copy:
            origin.backup(copy)
            # Without a log beside it, it can be read where nothing can be written.
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("DELETE FROM kv WHERE key = ?", [SNAPSHOT])
            if mark is not None:
                copy.execute("INSERT INTO kv VALUES (?, ?)", [SNAPSHOT, mark])
    except DAMAGE as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise StoreCorrupt(source / META, str(error)) from error
    finally:
        origin.close()
    with (part / META).open("rb+") as file:
        sync_data(file.fileno())


def _files(store: Path) -> list[tuple[str, int]]:
    """Return name and committed size of each file that the database names."""
    connection = read_connection(store)
    try:
        segments: list[Segment] = []
        for id_, dim in connection.execute("SELECT id, dim FROM collection").fetchall():
            for kind in KINDS:
                segments += read_segments(connection, id_, kind, dim, store)
        indexes = connection.execute("SELECT file, size FROM idx").fetchall()
    finally:
        connection.close()
    found = [(f"{VECTORS}/{s.path.name}", s.committed_bytes()) for s in segments]
    return found + [(f"{INDEXES}/{name}", size) for name, size in indexes]


def _copy_file(origin: Path, copy: Path, size: int, *, links: bool) -> None:
    """Link, or copy the first `size` bytes and make them durable."""
    if copy.exists():
        copy.unlink()
    if links:
        try:
            os.link(origin, copy)
        except FileNotFoundError:
            raise
        except OSError:
            pass  # another disk, or one that has no links
        else:
            return
    with origin.open("rb") as read, copy.open("xb") as write:
        left = size
        while left and (block := read.read(min(left, BLOCK))):
            write.write(block)
            left -= len(block)
        write.flush()
        sync_data(write.fileno())


def _is_taken(target: Path) -> bool:
    try:
        return target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:
        raise StoreError(f"cannot look into {target}: {error.strerror}") from error
