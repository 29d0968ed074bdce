"""Readers: what `mmsearch index` is given, as a stream of samples. None opens a picture."""

from __future__ import annotations

import glob
import os
import stat as modes
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mmsearch.errors import BadSource, NoSplits
from mmsearch.readers import flickr
from mmsearch.readers.containers import chosen_kinds, is_only_container, kind_of, read_inside
from mmsearch.readers.dataset import read_dataset, read_questions
from mmsearch.readers.folder import read_folder
from mmsearch.readers.formats import is_junk, is_picture, refusal, suffix_of
from mmsearch.readers.parquet import read_parquet
from mmsearch.readers.paths import read_path_file, read_paths
from mmsearch.readers.samples import picture_beside_captions, real_folder, real_path, reason_of
from mmsearch.readers.table import read_table
from mmsearch.types import Sample, Skipped
from mmsearch.uris import key_of, printable

_Samples = Iterator[Sample | Skipped]

# By suffix: files that list pictures, those that know splits, and those that don't. Some of
# either are caption files of Flickr8k and Flickr30k, which their first line shows.
_WITH_SPLITS: dict[str, Callable[..., _Samples]] = {
    ".csv": read_table,
    ".tsv": read_table,
    ".jsonl": read_table,
    ".ndjson": read_table,
    ".json": read_dataset,
    ".parquet": read_parquet,
}
_PATH_LISTS = (".txt", ".lst")


def read(
    source: str,
    *,
    split: str | None = None,
    follow_links: bool = False,
    exclude: Sequence[str] = (),
    inside: Sequence[str] = (),
    stdin: BinaryIO | None = None,
) -> _Samples:
    """Return what a source holds: samples, and what was left out, in a fixed order.

    What the source is decides: "-" is a list of paths on standard input, a folder is walked,
    csv/tsv/jsonl/json/parquet files and Flickr's caption files list pictures with their
    captions, txt files list paths, and any other file is a picture. A name that doesn't exist
    and has *, ? or [ is a pattern; ** goes through folders.

    Args:
        source: one argument of the command line.
        split: keep one split of a table or data set ("test", "train,restval").
        follow_links: follow symbolic links below folders.
        exclude: patterns of what is left out of folders, in gitignore's syntax.
        inside: kinds of files in folders whose pictures are read, too: "tar", "zip", "pdf",
            "video", "animation", or "all". Named by itself such a file is always read so; but
            an animation is its first frame unless this says otherwise.
        stdin: where "-" reads from; None is the process's own.

    Raises:
        BadSource: nothing is there, it cannot be read as what it is, or it has no splits.
            About a file's content it is raised when the first samples are asked for.
    """
    suffix = Path(source).suffix.lower()
    status = None if source == "-" else _stat(source)
    is_file = status is not None and modes.S_ISREG(status.st_mode)
    listed = _list_reader(source, suffix) if is_file else None
    if listed is not None:
        return listed(source, split=split)
    if split is not None:
        raise NoSplits(f"{printable(source)} has no splits; only tables and data sets have them")
    kinds = chosen_kinds(inside)
    how: dict[str, Any] = {"follow_links": follow_links, "exclude": exclude, "inside": kinds}
    if source == "-":
        return read_paths(stdin or sys.stdin.buffer, **how)
    if status is None:
        return _read_pattern(source, _matches(source), how)
    if modes.S_ISDIR(status.st_mode):
        return read_folder(source, **how)
    if not is_file:
        raise BadSource(
            f"{printable(source)} is no file or folder; to read paths from a pipe use -"
        )
    if suffix in _PATH_LISTS:
        return read_path_file(source, **how)
    return _read_file(source, kinds)


def roots(source: str) -> list[str]:
    """Return the keys of what `read(source)` lists in full: what isn't listed is gone.

    That is folders, and files with pictures inside. Lists, tables and pictures have none. Where
    `read` yields a Skipped whose key ends in "/", nothing is known about what is below that key.

    Raises:
        BadSource: nothing is there.
    """
    if source == "-":
        return []
    status = _stat(source)
    folders = [source] if status is not None else _matches(source)
    found = [real_folder(f) for f in folders if Path(f).is_dir() and "**" not in source]
    found += [real_path(f) for f in folders if is_only_container(f) and Path(f).is_file()]
    return [key_of(f) for f in found]


def _list_reader(path: str, suffix: str) -> Callable[..., _Samples] | None:
    """Return what reads a file that lists pictures and may know splits; None for other files."""
    if suffix in flickr.SUFFIXES and flickr.is_caption_file(path):
        return flickr.read_flickr
    return _WITH_SPLITS.get(suffix)


def _stat(source: str) -> os.stat_result | None:
    """Return the `stat` of a source, or None if it may be a pattern."""
    try:
        return Path(source).stat()
    except (OSError, ValueError) as error:
        if glob.has_magic(source):
            return None
        what = reason_of(error)
        what = "no such file or folder" if what == "no such file" else what
        raise BadSource(f"{what}: {printable(source)}") from error


def _matches(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # "~", absolute patterns
    if not found:
        raise BadSource(f"nothing matches {printable(pattern)}")
    return found


def _read_file(path: str, kinds: Collection[str]) -> _Samples:
    """Yield what a file is that was named by itself: a picture, or the pictures inside it."""
    kind = kind_of(path)
    if kind is None or not is_only_container(path):
        yield from picture_beside_captions(path)
    if kind is not None and (kind in kinds or is_only_container(path)):
        yield from read_inside(path, kind)


def _read_pattern(pattern: str, found: list[str], how: dict[str, Any]) -> _Samples:
    """Yield what matches a pattern: pictures, and the folders that ** did not go through.

    Tables and data sets only if the pattern ends in their suffix. Other files are passed over.
    """
    named = Path(pattern).suffix.lower()
    for name in found:
        path = Path(name)
        if path.is_dir():
            if "**" not in pattern and not is_junk(path.name):
                yield from read_folder(name, **how)
        elif "**" in pattern and any(is_junk(p) for p in path.parts[:-1] if p not in (".", "..")):
            continue
        elif (listed := _list_reader(name, named)) is not None:
            yield from listed(name)
        elif not path.is_file():
            continue
        elif is_only_container(name) and named != suffix_of(name):
            if kind_of(name) in how["inside"]:
                yield from _read_file(name, how["inside"])
            elif refusal(name):
                yield from picture_beside_captions(name)
        elif is_picture(name) or refusal(name) or is_only_container(name):
            yield from _read_file(name, how["inside"])


__all__ = ["read", "read_questions", "roots"]
