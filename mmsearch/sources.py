"""Where the bytes of a picture are: a file of its own, or a part of another file.

A member has the tar's URI with a fragment that says where its header starts and how long its
data is, so that one picture can be read again without what lies before it:

    file:///data/shard.tar#member=000/7.jpg&at=1024&size=5678

A cell of a parquet file has its column and row there, and a digest of the file's footer, which
differs once the file has been written anew:

    file:///data/train.parquet#cell=image.bytes&row=12&footer=0123456789abcdef

A member of a zip has where its header starts, its sizes and its checksum; a page of a PDF its
number, a frame of a film or an animation its time in seconds, a camera raw file's picture nothing:

    file:///comics/one.cbz#entry=01.jpg&at=0&packed=5678&size=5680&crc=12ab34cd
    file:///papers/a.pdf#page=3
    file:///films/b.mp4#t=12.4
    file:///photos/c.cr2#preview
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import quote_from_bytes, unquote_to_bytes
from zipfile import ZipInfo

from mmsearch.archives import read_member
from mmsearch.cells import read_cell
from mmsearch.errors import BadPicture
from mmsearch.types import Sample
from mmsearch.uris import content_hash, is_part, path_of, uri_of

MEMBER_BYTES = 256 << 20  # a picture in another file is held in memory, one a thread
FILMS = frozenset(
    {"mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "mts", "m2ts", "3gp", "ogv", "wmv",
     "flv"}
)  # fmt: skip
_HEADER_BYTES = 1 << 20  # of a tar member: names and extended headers; real ones have 512


def member_uri(path: str, member: str, *, at: int, size: int) -> str:
    """Return the URI of a tar's member.

    Args:
        path: of the tar.
        member: the name as the tar has it.
        at: where its header starts (`TarInfo.offset`).
        size: of its data.
    """
    name = quote_from_bytes(os.fsencode(member), safe="/")
    return f"{uri_of(path)}#member={name}&at={at}&size={size}"


def cell_uri(path: str, column: str, *, row: int, footer: str) -> str:
    """Return the URI of a parquet file's cell; the arguments are those of `read_cell`."""
    name = quote_from_bytes(column.encode(), safe="")
    return f"{uri_of(path)}#cell={name}&row={row}&footer={footer}"


def entry_uri(path: str, info: ZipInfo) -> str:
    """Return the URI of a zip's member."""
    name = quote_from_bytes(info.filename.encode("utf8", "surrogateescape"), safe="/")
    return (
        f"{uri_of(path)}#entry={name}&at={info.header_offset}&packed={info.compress_size}"
        f"&size={info.file_size}&crc={info.CRC:08x}"
    )


def frame_uri(sort: str, path: str, at: float) -> str:
    """Return the URI of a page of a "pdf", a frame of a "video" or "animation", or of a "raw"."""
    marks = {"pdf": f"page={at:g}", "raw": "preview"}
    return f"{uri_of(path)}#{marks.get(sort, f't={at:.3f}'.rstrip('0').rstrip('.'))}"


def is_raw(uri: str) -> bool:
    """Return whether a URI names the picture of a camera raw file."""
    return is_part(uri) and uri.endswith("#preview")


def is_film(path: str) -> bool:
    """Return whether a file's name is one of a film."""
    return path[path.rfind(".") + 1 :].lower() in FILMS


def open_source(uri: str) -> str | bytes:
    """Return what `open_picture` takes: the path of a file, or the bytes of a part of one.

    A file is not opened here. Thread-safe.

    Raises:
        BadPicture: the other file has changed or is damaged, or the member too large.
        MissingExtra: what reads that kind of file is not installed.
        OSError: the file cannot be read.
        ValueError: it is no `file:` URI.
    """
    path = path_of(uri)
    if not is_part(uri):
        return path
    fields = _fields(uri)
    try:
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise BadPicture("not a regular file")
        if "cell" in fields:
            return read_cell(
                path, fields["cell"].decode(), int(fields["row"]), footer=fields["footer"].decode()
            )
        if "entry" in fields:
            at, packed, size = (int(fields[name]) for name in ("at", "packed", "size"))
            if size > MEMBER_BYTES:
                raise BadPicture(f"a member of {size >> 20} MB is not read")
            return read_member(path, at, packed, size, int(fields["crc"], 16))
        from mmsearch.isolation import frame_at

        if "page" in fields:
            return frame_at("pdf", path, float(fields["page"]))
        if "t" in fields:
            return frame_at("video" if is_film(path) else "animation", path, float(fields["t"]))
        if "preview" in fields:
            return frame_at("raw", path, 0.0)
        member = os.fsdecode(fields["member"])
        return _tar_member(path, member, int(fields["at"]), int(fields["size"]))
    except (KeyError, ValueError) as error:
        raise BadPicture(f"no picture can have this URI: {type(error).__name__}") from error


def place_of(sample: Sample) -> str:
    """Return where a sample's picture is: a path, or the URI of a part of a file."""
    return sample.path or sample.item.uri


def source_at(place: str) -> str | bytes:
    """Return what `open_picture` takes for a place. Raises as `open_source`."""
    return open_source(place) if is_part(place) else place


def source_hash(source: str | bytes) -> str:
    """Return the BLAKE2b-128 of what `open_source` gave; of a file as `content_hash` does.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(source, str):
        return content_hash(source)
    return hashlib.blake2b(source, digest_size=16).hexdigest()


class HeadersOnly:
    """A tar file for `tarfile` to read headers from, which cannot make it read gigabytes.

    An extended header says its own size, and `tarfile` believes it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes.

        Raises:
            ReadError: tarfile's; more than any header has was asked for.
        """
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError("a header that claims to be huge")
        return self._file.read(size)


# What tarfile lets out on damaged headers.
TAR_ERRORS = (tarfile.TarError, RecursionError, ValueError, OverflowError, EOFError)


def _fields(uri: str) -> Mapping[str, bytes]:
    pairs = (part.partition("=") for part in uri.partition("#")[2].split("&"))
    return {name: unquote_to_bytes(value) for name, _, value in pairs}


def _tar_member(path: str, name: str, at: int, size: int) -> bytes:
    if size > MEMBER_BYTES:
        raise BadPicture(f"a member of {size >> 20} MB; the limit is {MEMBER_BYTES >> 20} MB")
    with Path(path).open("rb") as file:
        try:
            file.seek(at)
            # From here on as if the tar began here: long names are headers before the header.
            with tarfile.open(fileobj=HeadersOnly(file), mode="r:") as tar:  # type: ignore[call-overload]
                info = tar.firstmember
        except TAR_ERRORS as error:
            raise BadPicture("the tar has changed: no member starts there") from error
        if info is None or info.name != name or info.size != size or not info.isreg():
            raise BadPicture("the tar has changed: another member is there")
        file.seek(info.offset_data)
        data = file.read(size)
    if len(data) < size:
        raise BadPicture("the tar is cut short")
    return data
