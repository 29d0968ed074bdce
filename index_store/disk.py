"""Durable file operations: what they promise holds after a power cut."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path

from index_store.errors import StoreError, StoreFull, StoreReadOnly, WriteFailed

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
# SQLite's WAL needs shared memory between processes, which these do not give.
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs"}


def sync_data(fd: int) -> None:
    """Force the file's bytes, and its length, to the disk."""
    if sys.platform == "darwin":
        import fcntl

        # macOS' fsync leaves the data in the drive's cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Make a new or renamed entry of the folder durable. Windows needs and allows no such call."""
    if os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, each durable where it stands."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def write_at(fd: int, offset: int, data: memoryview) -> None:
    """Write all of `data` at `offset`; a short write is continued."""
    os.lseek(fd, offset, os.SEEK_SET)
    while data:
        data = data[os.write(fd, data) :]


def write_error(path: Path, error: BaseException) -> StoreError:
    """Return the error of ours that says what this failed write means."""
    code = getattr(error, "errno", None)
    if isinstance(error, StoreError):
        return error
    if code in NO_ROOM or (isinstance(error, sqlite3.Error) and "full" in str(error)):
        return StoreFull(path)
    if code in NOT_ALLOWED or "readonly database" in str(error):
        return StoreReadOnly(path, "permission denied or read-only file system")
    return WriteFailed(path, error)


def network_file_system(path: Path) -> str | None:
    """Return the type of the network file system that `path` is on; None if it is local.

    Known on Linux only; elsewhere the answer is None.
    """
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf8", errors="replace")
    except OSError:
        return None
    best, kind = "", None
    where = f"{path.resolve()}/"
    for line in mounts.splitlines():
        _, point, fs, *_ = line.split(" ")
        point = point.replace("\\040", " ").rstrip("/") + "/"
        if where.startswith(point) and len(point) >= len(best):
            best, kind = point, fs
    return kind if kind in NETWORK_FILE_SYSTEMS else None
