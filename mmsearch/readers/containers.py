"""Files that hold pictures inside: which they are, and who reads them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from mmsearch.errors import BadSource
from mmsearch.readers.formats import suffix_of
from mmsearch.readers.inside import read_frames
from mmsearch.readers.tar import read_tar
from mmsearch.readers.zips import read_zip
from mmsearch.sources import is_film
from mmsearch.types import Sample, Skipped
from mmsearch.uris import key_of, stamp_of, uri_of

KINDS = ("tar", "zip", "pdf", "video", "animation")
_BY_SUFFIX = {
    ".tar": "tar", ".zip": "zip", ".cbz": "zip", ".pdf": "pdf",
    ".gif": "animation", ".webp": "animation", ".apng": "animation",
}  # fmt: skip


def kind_of(name: str) -> str | None:
    """Return which of KINDS a file's name says that it is, or None."""
    return "video" if is_film(name) else _BY_SUFFIX.get(suffix_of(name))


def is_only_container(name: str) -> bool:
    """Return whether a file is no picture itself, but may hold some."""
    return kind_of(name) not in (None, "animation")


def read_inside(path: str, kind: str) -> Iterator[Sample | Skipped]:
    """Yield the pictures in a file of that kind.

    Raises:
        BadSource: it cannot be read, or is no tar.
        MissingExtra: the library for it is not installed.
    """
    if kind == "tar":
        return read_tar(path)
    return read_zip(path) if kind == "zip" else read_frames(path, kind)


def found_inside(path: str, kind: str) -> Iterator[Sample | Skipped]:
    """Yield the pictures in a file that was found, not named: trouble is yielded as Skipped.

    Raises:
        MissingExtra: the library for it is not installed.
    """
    try:
        yield from read_inside(path, kind)
    except BadSource as error:
        yield Skipped(f"{key_of(path)}#end", uri_of(path), str(error), _stamp(path))


def chosen_kinds(names: Collection[str]) -> frozenset[str]:
    """Return the kinds that --inside names; "all" is all of them."""
    return frozenset(KINDS if "all" in names else names)


def _stamp(path: str) -> str:
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116
    except OSError:
        return ""
