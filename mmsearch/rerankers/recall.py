"""A picture's side of its pairs: from the disk where it is kept there, else worked out and kept."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.cores import usable_cores
from mmsearch.errors import BadPicture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.rerankers.places import Place, file_at
from mmsearch.rerankers.token_cache import STAMP_BYTES, TokenCache, Tokens
from mmsearch.sources import MEMBER_BYTES, open_source
from mmsearch.uris import is_part

AT_ONCE = 16
UNSETTLED = bytes(STAMP_BYTES)
_SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT) has 2 s

Encode = Callable[[Sequence[Any]], "Sequence[Tokens | None]"]


@dataclass(frozen=True, slots=True)
class _Looked:
    """What is known of a picture. tokens: as they were kept. source: what to encode in their
    place, a path, a `file:` URI, a file's bytes or a picture; None: it cannot be had. content:
    the hash of these very bytes, "": not to be kept. stamp: of their file."""

    tokens: Tokens | None = None
    source: Any = None
    content: str = ""
    stamp: bytes = UNSETTLED


class Recall:
    """The tokens of pictures of one re-ranker.

    A picture is known by the hash of its bytes, never by its path. A file is hashed when it is met
    for the first time; while its size, its times (that of its last change of any sort too, which
    nobody can set) and its number on the disk stay, it is taken for the same. What the index says
    of its content only tells where to look.

    Args:
        cache: where they are kept; None: nowhere.
        made_by: all that they depend on beside the picture: weights, preprocessing, number format,
            and the versions of what computes them.
        threads: that read files; None: the cores that this process may use.
    """

    def __init__(
        self, cache: TokenCache | None, made_by: Sequence[str], threads: int | None
    ) -> None:
        self._cache, self._model = cache, "\n".join(made_by)
        self._threads = threads or usable_cores()

    def __call__(self, places: Sequence[Place], encode: Encode) -> list[Tokens | None]:
        """Return each picture's tokens, or None where it cannot be had.

        Args:
            places: of the pictures.
            encode: returns the tokens of up to AT_ONCE sources (a path, a `file:` URI, a file's
                bytes or a picture), None where one does not open.
        """
        if self._cache is None:
            parts = (encode([place.source for place in part]) for part in batched(places, AT_ONCE))
            return [one for part in parts for one in part]
        found: list[Tokens | None] = []
        for part in batched(places, AT_ONCE):
            looked = [*map_ahead(self._looked, part, threads=self._threads, ahead=AT_ONCE)]
            new = [one for one in looked if one.source is not None]
            made = iter(encode([one.source for one in new]) if new else ())
            found += [o.tokens if o.source is None else self._kept(o, next(made)) for o in looked]
        return found

    def _kept(self, looked: _Looked, tokens: Tokens | None) -> Tokens | None:
        if self._cache is not None and tokens is not None and looked.content:
            self._cache.write(self._model, looked.content, looked.stamp, tokens)
        return tokens

    def _looked(self, place: Place) -> _Looked:
        """Return what is kept of a picture, else its bytes with their hash."""
        assert self._cache is not None
        if not isinstance(place.source, str):
            return _Looked(source=place.source)
        try:
            stamp, readable = _stamp(place.source)
            known = self._cache.read(self._model, place.content)
            if known and stamp == known.stamp != UNSETTLED:
                return _Looked(known.tokens)
            if not readable:
                return _Looked(source=place.source)
            data = _bytes_at(place.source)
        except (BadPicture, OSError, ValueError):
            return _Looked()
        content = hashlib.blake2b(data, digest_size=16).hexdigest()
        if content != place.content:
            known = self._cache.read(self._model, content)
        if known is None:
            return _Looked(None, data, content, stamp)
        self._cache.confirm(self._model, content, stamp)
        return _Looked(known.tokens)


def _stamp(source: str) -> tuple[bytes, bool]:
    """Return what a file is known again by, and whether its bytes may be held in memory.

    UNSETTLED where it was changed just now: within one tick of the disk's clock it might be
    changed again, and look the same.

    Raises:
        OSError: it is not there.
        ValueError: the source names no file.
    """
    status = os.stat(file_at(source))  # noqa: PTH116
    times = (status.st_mtime_ns, status.st_ctime_ns)
    small = is_part(source) or status.st_size <= MEMBER_BYTES
    readable = stat.S_ISREG(status.st_mode) and small
    if time.time_ns() - max(times) < _SETTLED_NS:
        return UNSETTLED, readable
    text = "|".join(map(str, (source, status.st_size, *times, status.st_ino)))
    raw = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(raw, digest_size=STAMP_BYTES).digest(), readable


def _bytes_at(source: str) -> bytes:
    """Return a picture file's bytes, or those of a part of a file. Raises as `open_source`."""
    found = open_source(source) if source.startswith("file:") else source
    return found if isinstance(found, bytes) else Path(found).read_bytes()
