"""Members of zip files: listed from the directory at the end, read one by one, never unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mmsearch.errors import BadPicture

DIRECTORY_BYTES = 16 << 20  # about 150,000 members
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# Of all pictures together, unpacked. Real ones hardly get smaller; of the zip bombs that are known
# the mildest grows by a factor of 1,000.
_PLAIN, _GROWTH = 1 << 30, 200

# What zipfile lets out on damaged files.
ZIP_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error,
    RecursionError,
)  # fmt: skip


def zip_members(file: IO[bytes]) -> Iterator[zipfile.ZipInfo]:
    """Yield the members of a zip, as its directory has them; their data is not read.

    Raises:
        zipfile.BadZipFile, and others of ZIP_ERRORS: it is no zip, or damaged.
    """
    with zipfile.ZipFile(_Capped(file)) as opened:
        yield from opened.infolist()


def is_bomb(unpacked: int, packed: int) -> bool:
    """Return whether pictures of so many bytes cannot be in a zip of so many."""
    return unpacked > max(_PLAIN, packed * _GROWTH)


def why_not(info: zipfile.ZipInfo, limit: int) -> str | None:
    """Return why a member is not read, or None."""
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
        return "its name leads out of the zip"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.compress_type not in _METHODS:
        return f"it is packed by method {info.compress_type}; 0 and 8 (deflate) are read"
    if info.file_size > limit:
        return f"{info.file_size >> 20} MB; the limit in a zip is {limit >> 20} MB"
    return None


def read_member(path: str, at: int, packed: int, size: int, crc: int) -> bytes:
    """Return the data of a member: exactly `size` bytes, or an error.

    Args:
        path: of the zip.
        at: where the member's header starts.
        packed: bytes of its data in the zip; the same as `size` if it is only stored.
        size: of the data unpacked.
        crc: CRC-32 of the data unpacked.

    Raises:
        BadPicture: the zip has changed or is damaged.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        file.seek(at)
        head = file.read(30)
        if len(head) < 30 or head[:4] != b"PK\3\4":
            raise BadPicture("the zip has changed: no member starts there")
        method, name, extra = (int.from_bytes(head[a : a + 2], "little") for a in (8, 26, 28))
        file.seek(at + 30 + name + extra)
        data = file.read(packed)
    if method == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        except zlib.error as error:
            raise BadPicture(f"damaged in the zip: {error}") from error
    if len(data) != size or zlib.crc32(data) != crc:
        raise BadPicture("damaged in the zip, or the zip has changed")
    return data


class _Capped:
    """A zip for `zipfile` to read the directory from, which cannot make it read gigabytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes.

        Raises:
            BadZipFile: zipfile's; the directory claims to be huge.
        """
        if size > DIRECTORY_BYTES:
            raise zipfile.BadZipFile("a directory that claims to be huge")
        return self._file.read(size if size >= 0 else DIRECTORY_BYTES)
