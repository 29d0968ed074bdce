"""A sample from a path and its `stat`: the one place where items of files are made."""

# os.path, not pathlib: these lines run for every one of a million files.
# ruff: noqa: PTH112, PTH113, PTH116, PTH118, PTH122

from __future__ import annotations

import math
import os
import re
import stat as modes
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from mmsearch.errors import BadSource, NoSplits
from mmsearch.isolation import is_installed
from mmsearch.readers.captions import captions_beside
from mmsearch.readers.formats import RAW, refusal, suffix_of
from mmsearch.readers.sidecars import sidecar_of, sidecar_stamp
from mmsearch.stamps import told_stamp
from mmsearch.types import Item, MetaValue, Sample, Skipped
from mmsearch.uris import (
    FOLDS_NAMES,
    as_on_disk,
    clean,
    is_text,
    key_of,
    path_of,
    printable,
    stamp_of,
    uri_of,
)

# What the file itself says; a table's columns of the same name are left out.
RESERVED = frozenset({"name", "folder", "bytes", "mtime", "width", "height", "format"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LARGEST_INTEGER = 2**63  # SQLite's; a larger one is stored as text


def picture(
    path: str,
    stat: os.stat_result,
    *,
    captions: Sequence[str] = (),
    extra: Mapping[str, MetaValue] | None = None,
    sidecar: str = "",
    own: bool = False,
) -> Sample:
    """Return the sample of one picture file, from its absolute path and `stat` alone.

    The stamp is the file's own; a sidecar adds "~" and its own stamp, captions or extra meta
    add what `told_stamp` says. So a changed caption is noticed although the picture has not
    changed, and one edited row of a table touches one picture, not all. The file's content hash
    still tells that nothing needs to be embedded again.

    Args:
        path: absolute.
        stat: of that file.
        captions: texts that go with it.
        extra: more meta, from `scalars`.
        sidecar: the path of the XMP file beside it, or "".
        own: the captions are those of a file beside it, or there is none.
    """
    key = key_of(path)
    shown = key if is_text(path) else printable(path.replace(os.sep, "/"))
    folder, _, name = shown.rpartition("/")
    meta = {
        **(extra or {}),
        "name": name,
        "folder": folder or "/",
        "bytes": stat.st_size,
        "mtime": _iso(stat.st_mtime_ns),
    }
    stamp = stamp_of(stat)
    if sidecar:
        stamp += sidecar_stamp(sidecar)
    stamp += told_stamp(captions, extra or {}, own=own)
    item = Item(key, kind="image", uri=uri_of(path), stamp=stamp, meta=meta)
    return Sample(item, path=path, captions=tuple(captions), sidecar=sidecar, own=own)


def picture_beside_captions(path: str) -> Iterator[Sample | Skipped]:
    """Yield the sample of one file named by the user, with the captions that lie beside it.

    The item is the one that a walk of its folder would yield.
    Its name may be anything: what it holds decides when it is opened. What is no regular
    file, or refused, is yielded as Skipped.
    """
    try:
        path = real_path(path)
        stat = os.stat(path)
    except (OSError, ValueError) as error:
        yield Skipped(key_of(path), uri_of(path), reason_of(error))
        return
    raw = suffix_of(path) in RAW and is_installed("raw")
    reason = refusal(path) if modes.S_ISREG(stat.st_mode) else "neither a file nor a folder"
    if reason is not None and not (raw and modes.S_ISREG(stat.st_mode)):
        yield Skipped(key_of(path), uri_of(path), reason, stamp_of(stat))
        return
    captions: tuple[str, ...] = ()
    own = True
    for name in (f"{path}.txt", f"{os.path.splitext(path)[0]}.txt"):
        if name != path and os.path.isfile(name):
            try:
                captions = captions_beside(name)
            except OSError as error:
                yield Skipped(key_of(name), uri_of(name), f"captions: {reason_of(error)}")
                own = False
            break
    sidecar = sidecar_of(path)
    if raw:
        from mmsearch.readers.inside import raw_sample

        yield raw_sample(path, stat, captions=captions, sidecar=sidecar, own=own)
    else:
        yield picture(path, stat, captions=captions, sidecar=sidecar, own=own)


class Places:
    """The folders where listed pictures are looked for; the last that had one comes first."""

    def __init__(self, folder: str, others: Sequence[str] = ()) -> None:
        self._folder = folder
        self._real: dict[str, str] = {}  # folders: most pictures share theirs with others
        self._folders = [folder, *(f for f in others if os.path.isdir(f))]

    def sample(
        self,
        name: str,
        *,
        where: str,
        captions: Sequence[str] = (),
        extra: Mapping[str, MetaValue] | None = None,
    ) -> Sample | Skipped:
        """Return the sample of a picture that a file lists, or why there is none.

        Args:
            name: its path, absolute or relative to one of the places, or a `file:` URI.
            where: where it was listed ("row 7"), for the reason.
            captions: texts that go with it.
            extra: more meta.
        """
        if _REMOTE.match(name):
            url = printable(name)
            return Skipped(url, url, f"{where}: remote pictures are not fetched")
        if name[:5].lower() == "file:":
            try:
                name = path_of(name)
            except ValueError as error:
                return Skipped(printable(name), "", f"{where}: {error}")
        path, stat, reason = self._find(name)
        if stat is not None:
            if suffix_of(path) in RAW and is_installed("raw"):
                from mmsearch.readers.inside import raw_sample

                sidecar = sidecar_of(path)
                return raw_sample(path, stat, captions=captions, extra=extra, sidecar=sidecar)
            reason = refusal(path) or ""
            if not reason:
                sidecar = sidecar_of(path)
                return picture(path, stat, captions=captions, extra=extra, sidecar=sidecar)
        return Skipped(key_of(path), uri_of(path), f"{where}: {reason}")

    def _find(self, name: str) -> tuple[str, os.stat_result | None, str]:
        reason = "no such file"
        for spelling in _spellings(name):
            for i, folder in enumerate(self._folders):
                path = os.path.join(folder, spelling)
                try:
                    stat = os.stat(path)
                except FileNotFoundError:
                    continue
                except (OSError, ValueError) as error:
                    reason = reason_of(error)
                    continue
                if not modes.S_ISREG(stat.st_mode):
                    reason = "not a file"
                    continue
                if i:  # the next one most likely lies there too
                    self._folders.insert(0, self._folders.pop(i))
                return self._real_path(path), stat, ""
        return os.path.join(self._folder, name), None, reason

    def _real_path(self, path: str) -> str:
        parent, name = os.path.split(path)
        if parent not in self._real:
            self._real[parent] = os.path.realpath(parent)
        return os.path.join(self._real[parent], name)


class Splits:
    """The splits that the user wants, written "test" or "train,restval"; None is all."""

    def __init__(self, wanted: str | None) -> None:
        self._wanted = None if wanted is None else {w.strip() for w in wanted.split(",")}
        self._seen: set[str] = set()
        self._kept = 0

    def keeps(self, split: object) -> bool:
        """Return whether an entry of this split is wanted, and remember that there was one."""
        if self._wanted is None:
            return True
        self._seen.add("" if split is None else str(split))
        kept = str(split) in self._wanted
        self._kept += kept
        return kept

    def check(self, source: str) -> None:
        """Complain when nothing was kept.

        Raises:
            NoSplits: the source has no split at all.
            BadSource: it has others than those asked for.
        """
        if self._wanted is None or self._kept:
            return
        seen = ", ".join(sorted(filter(None, self._seen)))
        wanted = ", ".join(sorted(self._wanted))
        sort = BadSource if seen else NoSplits
        raise sort(
            f"{printable(source)} has no split {printable(wanted)!r}; it has "
            f"{printable(seen) or 'none'}"
        )


def without_splits(path: str, split: str | None, what: str) -> None:
    """Complain about a split where each file is one.

    Raises:
        NoSplits: a split was asked for.
    """
    if split is not None:
        raise NoSplits(f"{printable(path)} has no splits: {what} is one; leave out --split")


def real_path(path: str) -> str:
    """Return the absolute path with the links in its folders resolved, its own name kept.

    So a picture has one key, whether it was named itself, listed, or found by a walk.
    """
    parent, name = os.path.split(path)
    real = os.path.join(os.path.realpath(parent), name)
    return as_on_disk(real, names_in) if FOLDS_NAMES else real


def real_folder(path: str) -> str:
    """Return the absolute path of a folder, links resolved, each name as it is on the disk."""
    real = os.path.realpath(path)
    return as_on_disk(real, names_in) if FOLDS_NAMES else real


@lru_cache(maxsize=256)
def names_in(folder: str) -> list[str]:
    """Return the names in a folder, as they were when it was first asked for.

    Raises:
        OSError: it cannot be listed.
    """
    return os.listdir(folder)  # noqa: PTH208


def scalars(
    fields: Mapping[str, Any], *, without: Sequence[str | None] = ()
) -> dict[str, MetaValue]:
    """Return the fields that can be meta: JSON scalars, without nulls, NaN and empty strings.

    Names in RESERVED are left out too.
    """
    meta: dict[str, MetaValue] = {}
    for name, value in fields.items():
        if name in without or name in RESERVED or not name:
            continue
        if isinstance(value, str):
            value = clean(value)
        elif isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
            value = str(value)
        finite = isinstance(value, float) and math.isfinite(value)
        if finite or (isinstance(value, str) and value) or isinstance(value, int):
            meta[clean(name)] = value
    return meta


def distinct(texts: Iterable[str]) -> list[str]:
    """Return the texts in order, without those that differ from an earlier one in capitals only."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.casefold(), text)
    return list(first.values())


def reason_of(error: Exception) -> str:
    """Return what the system says about a file, without its number and path."""
    if isinstance(error, FileNotFoundError) or not isinstance(error, OSError):
        return "no such file"  # a ValueError: no file's name holds a NUL
    return error.strerror or type(error).__name__


def _spellings(name: str) -> Iterator[str]:
    """Yield a name as written, then as other systems write it: macOS NFD, Windows backslash."""
    yield name
    slashed = [name, name.replace("\\", "/")]
    others = [
        spelled
        for n in slashed
        for spelled in (n, unicodedata.normalize("NFC", n), unicodedata.normalize("NFD", n))
    ]
    yield from (o for o in dict.fromkeys(others) if o != name)


def _iso(mtime_ns: int) -> str | None:
    try:
        return f"{_EPOCH + timedelta(seconds=mtime_ns // 10**9):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:  # a damaged file system says the year 60,000
        return None
