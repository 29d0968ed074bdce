"""A tar of pictures, plain or a WebDataset shard: key.jpg, key.txt and key.json are one sample."""

from __future__ import annotations

import json
import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mmsearch.errors import BadSource
from mmsearch.readers.captions import BYTES, LINES
from mmsearch.readers.formats import is_picture, suffix_of
from mmsearch.readers.samples import real_path, reason_of, scalars
from mmsearch.readers.table import TEXT_COLUMNS
from mmsearch.sources import MEMBER_BYTES, TAR_ERRORS, HeadersOnly, member_uri
from mmsearch.stamps import told_stamp
from mmsearch.types import Item, MetaValue, Sample, Skipped
from mmsearch.uris import clean, is_text, key_of, printable, stamp_of, uri_of

JSON_BYTES = 1 << 20  # a longer .json member is passed over

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def read_tar(path: str) -> Iterator[Sample | Skipped]:
    """Yield the pictures in a tar, in its order; their bytes are not read.

    Neighbours whose names agree up to the first dot belong together (WebDataset): the lines
    of key.txt and the caption in key.json go with the first picture, the other fields of
    key.json are the meta of all. A picture's key is "TAR#MEMBER", its stamp the tar's and
    where it stands in it. Links, names that lead out of the tar and members above
    MEMBER_BYTES are yielded as Skipped; other files in it are passed over. A damaged or
    truncated tar gives what comes before the damage, then a Skipped.

    Raises:
        BadSource: the file cannot be read, or is no tar or a compressed one.
    """
    path = real_path(path)
    try:
        with Path(path).open("rb") as file:
            yield from _Tar(path, file).samples()
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error


class _Tar:
    def __init__(self, path: str, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._key, self._uri = key_of(path), uri_of(path)
        self._stat = os.fstat(file.fileno())

    def samples(self) -> Iterator[Sample | Skipped]:
        group: list[tarfile.TarInfo] = []
        for found in self._members():
            if isinstance(found, Skipped):
                yield from self._group(group)
                group = []
                yield found
                continue
            if group and _stem(group[0].name) != _stem(found.name):
                yield from self._group(group)
                group = []
            group.append(found)
        yield from self._group(group)

    def _members(self) -> Iterator[tarfile.TarInfo | Skipped]:
        """Yield the regular files, what is refused, and at last what is wrong with the tar."""
        tar, end = self._opened(), -1
        try:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # or it keeps all of them
                if info.offset <= end or info.size < 0:
                    raise tarfile.ReadError("its headers run in a circle")
                end = info.offset
                reason = _refusal(info)
                if reason is None and info.isreg():
                    yield info
                elif reason is not None and is_picture(info.name):
                    yield self._skipped(info, reason)
            # tarfile stops in silence at a damaged header, as it does at the end.
            self._file.seek(tar.offset)
            if self._file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("not a member's header")
        except TAR_ERRORS as error:
            reason = f"the tar is damaged or cut short after byte {max(end, 0)}: {error}"
            yield Skipped(f"{self._key}#end", self._uri, reason)

    def _opened(self) -> tarfile.TarFile:
        head = self._file.read(8)
        self._file.seek(0)
        if head.startswith(_COMPRESSED):
            raise BadSource(f"{printable(self._path)} is compressed; decompress it first")
        try:
            return tarfile.open(fileobj=HeadersOnly(self._file), mode="r:")  # type: ignore[call-overload, no-any-return]
        except TAR_ERRORS as error:
            raise BadSource(f"{printable(self._path)} is no tar: {error}") from error

    def _group(self, group: list[tarfile.TarInfo]) -> Iterator[Sample | Skipped]:
        pictures = [m for m in group if is_picture(m.name)]
        if not pictures:
            return
        captions: list[str] = []
        extra: dict[str, MetaValue] = {}
        for info in group:
            if suffix_of(info.name) == ".txt":
                captions += self._lines(info)
            elif suffix_of(info.name) == ".json":
                texts, fields = _described(self._data(info, JSON_BYTES))
                captions += texts
                extra |= fields
        texts = list(dict.fromkeys(captions))[:LINES]
        for n, info in enumerate(pictures):
            yield self._sample(info, texts if n == 0 else [], extra)

    def _data(self, info: tarfile.TarInfo, limit: int) -> bytes:
        self._file.seek(info.offset_data)
        return self._file.read(min(info.size, limit))

    def _lines(self, info: tarfile.TarInfo) -> list[str]:
        text = self._data(info, BYTES).decode("utf-8-sig", errors="replace").replace("\0", "")
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _sample(
        self, info: tarfile.TarInfo, captions: list[str], extra: dict[str, MetaValue]
    ) -> Sample:
        inner = posixpath.normpath(info.name)
        folder, name = posixpath.split(inner)
        meta = {
            **extra,
            "name": printable(name),
            "folder": printable(f"{self._key}/{folder}".rstrip("/")),
            "bytes": info.size,
        }
        stamp = f"{stamp_of(self._stat)}@{info.offset}"
        stamp += told_stamp(captions, extra, own=True)
        item = Item(self._member_key(inner), "image", self._member_uri(info), "", stamp, meta=meta)
        return Sample(item, captions=tuple(captions), own=True)

    def _skipped(self, info: tarfile.TarInfo, reason: str) -> Skipped:
        stamp = f"{stamp_of(self._stat)}@{info.offset}"
        return Skipped(self._member_key(info.name), self._member_uri(info), reason, stamp)

    def _member_key(self, name: str) -> str:
        return f"{self._key}#{name if is_text(name) else printable(name)}"

    def _member_uri(self, info: tarfile.TarInfo) -> str:
        return member_uri(self._path, info.name, at=info.offset, size=info.size)


def _stem(name: str) -> str:
    folder, base = posixpath.split(name)
    return f"{folder}/{base.partition('.')[0]}"


def _refusal(info: tarfile.TarInfo) -> str | None:
    """Return why a member is not read, or None."""
    if info.name.startswith("/") or ".." in info.name.split("/"):
        return "its name leads out of the tar"
    if info.issym() or info.islnk():
        return "a link; links in a tar are not followed"
    if info.issparse():
        return "a sparse file; sparse members are not read"
    if info.size > MEMBER_BYTES:
        return f"{info.size >> 20} MB; the limit in a tar is {MEMBER_BYTES >> 20} MB"
    return None


def _described(raw: bytes) -> tuple[list[str], dict[str, MetaValue]]:
    """Return the captions and the other fields of a .json member; nothing if it is no object."""
    try:
        fields: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return [], {}
    if not isinstance(fields, dict):
        return [], {}
    column = next((c for c in TEXT_COLUMNS if fields.get(c)), None)
    value = fields.get(column) if column else []
    texts = [t for t in (value if isinstance(value, list) else [value]) if isinstance(t, str)]
    return [clean(t) for t in texts if clean(t)], scalars(fields, without=(column,))
