"""What a re-ranker has worked out of pictures, kept on the disk for the next question.

A file a picture, rerank/MODEL/2 digits/30 digits: of the sizes in question (0.2 to 2 MB) SQLite
would be no faster, and a file of its own can be replaced in one step, is damaged by itself alone,
and needs no lock, be it on a network drive or written by several processes. A file is

    MAGIC, 16 bytes that the picture file was last seen with, 16 bytes checksum of the rest,
    4 bytes length, JSON: model, content, names, types and shapes, then the arrays
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encoders import cache
from mmsearch.types import Array

GB = 1_000_000_000
MAGIC = b"mmtoken1"
STAMP_BYTES = 16
_CONTENT = re.compile(r"[0-9a-f]{32}")
_HEAD = len(MAGIC) + STAMP_BYTES  # up to the checksum
_BODY = _HEAD + 16
_LEFTOVER_S = 3600  # a temporary file that is older is of a process that was killed

Tokens = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Entry:
    """What was kept of a picture. stamp: as it was given to `write` or `confirm`."""

    stamp: bytes
    tokens: Tokens


def folder() -> Path:
    """Return where picture tokens are kept; it need not be there, and may be deleted any time."""
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch", appauthor=False) / "rerank"


def held() -> tuple[int, int]:
    """Return how many pictures are kept, and their bytes."""
    found = [size for _, size, path in _files(folder()) if not path.endswith(".tmp")]
    return len(found), sum(found)


class TokenCache:
    """Picture tokens on the disk, of all re-rankers together no more than a limit.

    Whatever goes wrong with the disk is no error: nothing is kept then. Thread-safe for reading.

    Args:
        limit: in bytes. Where more is to be kept, what was not used for longest goes.
        say: gets one line, the first time that something cannot be written.
        root: the folder; None: that of the user's.
    """

    def __init__(
        self, limit: int, say: Callable[[str], None] = lambda _: None, *, root: Path | None = None
    ) -> None:
        self._root, self._limit, self._say = root or folder(), limit, say
        self._total: int | None = None  # bytes kept, as this process knows; None: not looked yet
        self._written = 0  # bytes since it looked
        self._broken = False

    def read(self, model: str, content: str) -> Entry | None:
        """Return what is kept of a picture, or None: there is nothing, or it is damaged.

        Args:
            model: all that the tokens depend on beside the picture, as one text.
            content: hash of the picture's bytes, 32 hexadecimal digits.
        """
        path = self._path(model, content)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                data = bytearray(os.fstat(file.fileno()).st_size)  # tensors are made of it
                file.readinto(data)
            entry = _unpacked(data, model, content)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or damaged: made anew
        with suppress(OSError):
            os.utime(path)  # the time of its last use
        return entry

    def write(self, model: str, content: str, stamp: bytes, tokens: Tokens) -> None:
        """Keep a picture's tokens, in one step; of two processes that do the last one's stay.

        Args:
            model: as `read` takes it.
            content: as `read` takes it.
            stamp: what its file was seen with, STAMP_BYTES.
            tokens: arrays of numbers, by name.
        """
        path = self._path(model, content)
        if path is None or self._broken:
            return
        data = _packed(model, content, stamp, tokens)
        try:
            if self._make_room(len(data)):
                # Not flushed: after a loss of power the checksum tells what is not whole.
                cache.write(path, data, flush=False)
                self._written += len(data)
        except OSError as error:
            if path.exists():  # another process was faster, and Windows has it open
                return
            self._broken = True
            self._say(
                f"picture tokens are not kept for later questions ({error.strerror}): "
                f"{self._root}; --rerank-cache 0 does without"
            )

    def confirm(self, model: str, content: str, stamp: bytes) -> None:
        """Note what a picture with these bytes was seen with; torn in two it matches nothing."""
        path = self._path(model, content)
        with suppress(OSError):
            if path is not None:
                with path.open("r+b") as file:
                    file.seek(len(MAGIC))
                    file.write(stamp)

    def _path(self, model: str, content: str) -> Path | None:
        if not _CONTENT.fullmatch(content):  # it is a file's name: nothing else may be in it
            return None
        return self._root / _digest(model.encode()).hex() / content[:2] / content[2:]

    def _make_room(self, size: int) -> bool:
        """Return whether so many bytes may be written; what was not used for longest goes.

        The folder is looked at once, and again after each sixteenth of the limit: other
        processes write too.
        """
        if size > self._limit:
            return False
        known = self._total
        if known is None or self._written > self._limit // 16:
            known = self._swept(self._limit)
        if known + self._written + size > self._limit:
            known = self._swept(self._limit - max(size, self._limit // 16))
        return known + self._written + size <= self._limit

    def _swept(self, most: int) -> int:
        """Remove what is too much, half a year old, or left over; return the bytes that stay."""
        now = time.time()
        files = sorted(_files(self._root))
        total = sum(size for _, size, _ in files)
        for used, size, path in files:
            left = path.endswith(".tmp") and used < now - _LEFTOVER_S
            if total <= most and used >= now - cache.KEPT_S and not left:
                continue
            with suppress(OSError):  # another process has removed it, or Windows has it open
                Path(path).unlink()
                total -= size
        self._total, self._written = total, 0
        return total


def _files(root: Path) -> Iterator[tuple[float, int, str]]:
    """Yield time of last use, size and path of all files that lie two folders below."""
    folders = [os.fspath(root)]
    for depth in range(3):
        deeper = []
        for name in folders:
            with suppress(OSError), os.scandir(name) as entries:  # gone meanwhile, or none yet
                for entry in entries:
                    if depth < 2:
                        deeper.append(entry.path)
                        continue
                    with suppress(OSError):
                        stat = entry.stat(follow_symlinks=False)
                        yield stat.st_mtime, stat.st_size, entry.path
        folders = deeper


def _packed(model: str, content: str, stamp: bytes, tokens: Tokens) -> bytes:
    arrays = [(name, np.ascontiguousarray(value)) for name, value in tokens.items()]
    about = {"model": model, "content": content,
             "arrays": [(name, a.dtype.str, a.shape) for name, a in arrays]}  # fmt: skip
    header = json.dumps(about).encode()
    header += b" " * (-(_BODY + 4 + len(header)) % 16)  # numbers start where the processor likes
    body = b"".join([len(header).to_bytes(4), header, *(a.tobytes() for _, a in arrays)])
    return MAGIC + stamp + _digest(body) + body


def _unpacked(data: bytearray, model: str, content: str) -> Entry:
    """Return what is in a file.

    Raises:
        ValueError, KeyError, TypeError: it is not whole, or of something else.
    """
    body = memoryview(data)[_BODY:]
    if data[: len(MAGIC)] != MAGIC or _digest(body) != data[_HEAD:_BODY]:
        raise ValueError("damaged")
    at = 4 + int.from_bytes(body[:4])
    about: dict[str, Any] = json.loads(bytes(body[4:at]))
    if (about["model"], about["content"]) != (model, content):
        raise ValueError("of another picture or model")
    tokens = {}
    for name, kind, shape in about["arrays"]:
        count = int(np.prod(shape))
        array = np.frombuffer(body, kind, count, at)
        tokens[name] = np.require(array.reshape(shape), requirements="A")
        at += array.nbytes
    return Entry(bytes(data[len(MAGIC) : _HEAD]), tokens)


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
