"""A list of paths, from a pipe or a text file, a line each or NUL-separated (find -print0)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import BadSource
from mmsearch.readers.containers import found_inside, is_only_container, kind_of
from mmsearch.readers.folder import read_folder
from mmsearch.readers.samples import picture_beside_captions, reason_of
from mmsearch.types import Sample, Skipped
from mmsearch.uris import path_of, printable

_BLOCK = 64 * 1024


def read_paths(
    stream: BinaryIO, *, base: str | None = None, follow_links: bool = False,
    exclude: Sequence[str] = (), inside: Collection[str] = (),
) -> Iterator[Sample | Skipped]:  # fmt: skip
    """Yield what the listed paths hold, each as soon as it has been read.

    A folder is walked, a file is taken for a picture whatever its name; one that isn't there
    is yielded as Skipped. `file:` URIs are understood.

    Args:
        stream: paths in the bytes of the file system. With a NUL in the first block they are
            separated by NULs, else by line ends (then "\\r" at the end is left off).
        base: what relative paths are relative to; None is the working directory.
        follow_links, exclude, inside: as for `read_folder`.
    """
    for raw in _pieces(stream):
        name = os.fsdecode(raw)
        if name[:8].lower() == "file:///":
            try:
                name = path_of(name)
            except ValueError:
                yield Skipped(printable(name), "", "no such file")
                continue
        path = os.path.join(base or "", name)  # noqa: PTH118
        if os.path.isdir(path):  # noqa: PTH112
            yield from read_folder(path, follow_links=follow_links, exclude=exclude, inside=inside)
        elif is_only_container(path) and Path(path).is_file():
            yield from found_inside(path, kind_of(path) or "")
        else:
            yield from picture_beside_captions(path)


def read_path_file(
    path: str,
    *,
    follow_links: bool = False,
    exclude: Sequence[str] = (),
    inside: Collection[str] = (),
) -> Iterator[Sample | Skipped]:
    """Yield what the paths in a text file hold; they are relative to that file's folder.

    Raises:
        BadSource: the file cannot be read.
    """
    folder = str(Path(path).absolute().parent)
    try:
        with Path(path).open("rb") as stream:
            yield from read_paths(
                stream, base=folder, follow_links=follow_links, exclude=exclude, inside=inside
            )
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    # read1 gives what a pipe has now; read would wait for 64 KB while find goes on.
    read = getattr(stream, "read1", stream.read)
    rest, separator = b"", b""
    while block := read(_BLOCK):
        rest += block
        if not separator:
            if b"\0" not in rest and b"\n" not in rest:
                continue
            separator = b"\0" if b"\0" in rest else b"\n"
            rest = rest.removeprefix(b"\xef\xbb\xbf")
        *pieces, rest = rest.split(separator)
        yield from _stripped(pieces, separator)
    yield from _stripped([rest], separator)


def _stripped(pieces: list[bytes], separator: bytes) -> Iterator[bytes]:
    for piece in pieces:
        name = piece if separator == b"\0" else piece.removesuffix(b"\r")
        if name:
            yield name
