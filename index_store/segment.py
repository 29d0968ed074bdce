"""An append-only file of float16 vectors in slots of fixed size.

    header, 64 bytes: magic, version, dim, base, uuid, CRC32 of all that; then the slots.

Bytes past the committed slots mean nothing: a crash left them, the next write goes over them.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index_store.disk import sync_data, sync_folder, write_at
from index_store.errors import StoreCorrupt

Halves = npt.NDArray[np.float16]  # (n, dim)

MAGIC = b"MMSVEC\r\n"
VERSION = 1
HEADER_BYTES = 64
_FIELDS = struct.Struct("<8sIIQ16s")
MAX_BYTES = 1 << 30  # a segment is closed at about this size
OPEN_BINARY: int = getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment as committed: positions `base` up to `base + slots` are in `path`."""

    path: Path
    dim: int
    base: int
    slots: int
    uuid: str

    @property
    def end(self) -> int:
        return self.base + self.slots

    def full(self) -> bool:
        return self.slots * self.dim * 2 >= MAX_BYTES

    def committed_bytes(self) -> int:
        return HEADER_BYTES + self.slots * self.dim * 2

    def check(self) -> None:
        """Compare the file with what was committed.

        Raises:
            StoreCorrupt: missing, shorter than committed, or the header is another's.
        """
        try:
            with self.path.open("rb") as file:
                header = file.read(HEADER_BYTES)
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise StoreCorrupt(self.path, error.strerror or str(error)) from error
        if size < self.committed_bytes():
            raise StoreCorrupt(
                self.path, f"{size} bytes, but {self.committed_bytes()} were committed"
            )
        if header != self._header():
            raise StoreCorrupt(self.path, "its header is not the one that was written")

    def open(self) -> Halves:
        """Return the committed slots, memory-mapped: (slots, dim). See `check` for errors."""
        self.check()
        return self._mapped(self.slots)

    def readable(self) -> Halves:
        """Return as many of the committed slots as a file that was cut short still has.

        Raises:
            StoreCorrupt: missing, or the header is another's.
        """
        try:
            there = (self.path.stat().st_size - HEADER_BYTES) // (self.dim * 2)
        except OSError as error:
            raise StoreCorrupt(self.path, error.strerror or str(error)) from error
        slots = min(max(there, 0), self.slots)
        Segment(self.path, self.dim, self.base, slots, self.uuid).check()
        return self._mapped(slots)

    def _header(self) -> bytes:
        try:
            return _header(self.dim, self.base, uuid.UUID(self.uuid))
        except (ValueError, struct.error):
            return b""  # what the database says of it is damaged

    def _mapped(self, slots: int) -> Halves:
        if not slots:
            return np.empty((0, self.dim), np.float16)
        shape = (slots, self.dim)
        return np.memmap(self.path, np.float16, mode="r", offset=HEADER_BYTES, shape=shape)

    def append(self, rows: Halves) -> Segment:
        """Write rows after the committed slots, make them durable; return the longer segment.

        Nothing is committed by it: that is the database's work.
        """
        fd = os.open(self.path, os.O_WRONLY | OPEN_BINARY)
        try:
            write_at(fd, self.committed_bytes(), memoryview(rows.tobytes()))
            sync_data(fd)
        finally:
            os.close(fd)
        return Segment(self.path, self.dim, self.base, self.slots + len(rows), self.uuid)

    def cut_tail(self) -> None:
        """Drop what a crash left after the committed slots. See `check` for errors."""
        self.check()
        if self.path.stat().st_size > self.committed_bytes():
            os.truncate(self.path, self.committed_bytes())


def create(path: Path, dim: int, base: int) -> Segment:
    """Make a new, empty, durable segment file.

    Raises:
        FileExistsError: there is a file of that name.
    """
    name = uuid.uuid4()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_BINARY, 0o666)
    try:
        write_at(fd, 0, memoryview(_header(dim, base, name)))
        sync_data(fd)
    finally:
        os.close(fd)
    sync_folder(path.parent)
    return Segment(path, dim, base, 0, str(name))


def header_fields(path: Path) -> tuple[int, int, str]:
    """Return dim, base and uuid as the file itself tells them.

    Raises:
        StoreCorrupt: it cannot be read, or its header has changed.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise StoreCorrupt(path, error.strerror or str(error)) from error
    if len(header) == HEADER_BYTES:
        _, _, dim, base, name = _FIELDS.unpack_from(header)
        if header == _header(dim, base, uuid.UUID(bytes=name)):
            return dim, base, str(uuid.UUID(bytes=name))
    raise StoreCorrupt(path, "its header is not the one that was written")


def crc(row: Halves) -> int:
    """Return the CRC32 of a row's bytes, (dim,), as they are stored."""
    return zlib.crc32(row.data)


def crcs(rows: Halves) -> list[int]:
    """Return the CRC32 of each row's bytes as they are stored."""
    if not rows.size:
        return []
    data, size = memoryview(rows.tobytes()), rows.shape[1] * 2
    return [zlib.crc32(data[start : start + size]) for start in range(0, len(data), size)]


def _header(dim: int, base: int, name: uuid.UUID) -> bytes:
    fields = _FIELDS.pack(MAGIC, VERSION, dim, base, name.bytes)
    return (fields + struct.pack("<I", zlib.crc32(fields))).ljust(HEADER_BYTES, b"\0")
