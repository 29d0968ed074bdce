"""What was worked out of a model's files, kept in the user's cache folder for these very files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

KEPT_S = 180 * 24 * 3600  # what is older may be of files long gone; what is not is made again


def identity(files: Iterable[Path], *, salt: str = "") -> list[str]:
    """Return what tells these files from any others: resolved paths, sizes and times in ns.

    Raises:
        OSError: a file is not there.
    """
    known = [salt]
    for path in files:
        real = path.resolve()
        stat = real.stat()
        known.append(f"{real}|{stat.st_size}|{stat.st_mtime_ns}")
    return known


def entry(sort: str, identity: Iterable[str], suffix: str) -> Path:
    """Return where something of this sort is kept."""
    from platformdirs import user_cache_path

    text = "\n".join(identity).encode("utf-8", "surrogateescape")
    key = hashlib.blake2b(text, digest_size=16).hexdigest()
    return user_cache_path("mmsearch", appauthor=False) / sort / f"{key}{suffix}"


def write(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write an entry in one step; of two processes that do the last one's stays. Entries of its
    sort that are older than KEPT_S go.

    Args:
        path: of the entry.
        data: what is in it.
        flush: wait until it is on the disk. Without, a loss of power may leave less of it, or
            zeros: for entries that say whether they are whole.

    Raises:
        OSError: it cannot be written.
    """
    import tempfile

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    _sweep(path.parent)


def _sweep(folder: Path) -> None:
    before = time.time() - KEPT_S
    for path in folder.iterdir():
        with suppress(OSError):  # another process has removed it, or Windows has it open
            if path.stat().st_mtime < before:
                path.unlink()
