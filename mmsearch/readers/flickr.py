"""The caption files of Flickr8k and Flickr30k: the authors' own, and those on Kaggle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmsearch.errors import BadSource
from mmsearch.readers import table
from mmsearch.readers.places import places
from mmsearch.readers.samples import reason_of
from mmsearch.types import Sample, Skipped
from mmsearch.uris import printable

SUFFIXES = (".token", ".txt", ".csv")  # what such a file may end in
# Beside it, names of pictures a line each: Flickr8k's own lists, and those of Flickr30k Entities.
LISTS = {
    "Flickr_8k.trainImages.txt": "train",
    "Flickr_8k.devImages.txt": "val",
    "Flickr_8k.testImages.txt": "test",
    "train.txt": "train",
    "val.txt": "val",
    "test.txt": "test",
}

_HEAD_BYTES = 4096
_TOKEN = re.compile(r"([^\t]+)#\d+\t(.*)")  # 1000268201_693b08cb0e.jpg#0<TAB>A child ...
# results.csv: "1000092795.jpg| 0| Two young guys ...". In one row of Kaggle's copy the second
# bar is missing ("2199200615.jpg| 4   A dog runs ...").
_BARS = re.compile(r"([^|]+)\|\s*\d+\s*\|?(.*)")
_BARS_HEADER = re.compile(r"image_name\s*\|\s*comment_number\s*\|\s*comment\s*")
_CSV_HEADERS = ("image,caption", "image_name,comment_number,comment")

_Records = Iterator[tuple[int, Mapping[str, Any] | str]]


def is_caption_file(path: str) -> bool:
    """Return whether a file is one of these: its first line shows it."""
    first = _first_line(path)
    if first in _CSV_HEADERS:
        return path.lower().endswith(".txt")  # named .csv it is a table as any other
    return bool(_BARS_HEADER.fullmatch(first) or _TOKEN.fullmatch(first))


def read_flickr(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures of a caption file with their captions, the lines of one together.

    Flickr8k.token.txt and results_20130124.token have no header, Kaggle's captions.txt and
    results.csv have one. Where LISTS lie beside the file, each picture has the split whose
    list names it; a picture in none of them has none.

    Args:
        path: the file; its pictures are looked for near it (`places` says where).
        split: keep only these ("test", "train,val").

    Raises:
        BadSource: a file cannot be read, or there is no such split.
    """
    records = _with_split(_records(path), _splits(path))
    whole = table.is_grouped(path)
    yield from table.samples(path, records, split=split, whole=whole, near=places(path))


def _records(path: str) -> _Records:
    first = _first_line(path)
    if first in _CSV_HEADERS:
        return table.records(path)
    bars = _BARS_HEADER.fullmatch(first)
    lines = enumerate(_lines(path), start=1)
    if bars:
        next(lines)
    return _matched(lines, _BARS if bars else _TOKEN)


def _matched(lines: Iterable[tuple[int, str]], pattern: re.Pattern[str]) -> _Records:
    for n, line in lines:
        found = pattern.fullmatch(line)
        if found:
            yield n, {"image": found[1].strip(), "caption": found[2]}
        elif line.strip():
            yield n, "no picture, number and caption"


def _with_split(records: _Records, splits: Mapping[str, str]) -> _Records:
    for n, record in records:
        if not isinstance(record, str):
            name = str(record.get("image") or record.get("image_name") or "")
            of_list = splits.get(name) or splits.get(name.rpartition(".")[0])
            record = {k: v for k, v in record.items() if k != "comment_number"}
            record |= {"split": of_list} if of_list else {}
        yield n, record


def _splits(path: str) -> dict[str, str]:
    """Return the split by the picture's name as the lists beside the file have it."""
    splits: dict[str, str] = {}
    for name, split in LISTS.items():
        beside = Path(path).resolve().parent / name
        if beside.is_file():
            splits |= {line.strip(): split for line in _lines(str(beside)) if line.strip()}
    return splits


def _lines(path: str) -> Iterator[str]:
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for line in lines:
                yield line.rstrip("\n").replace("\0", "")
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error


def _first_line(path: str) -> str:
    """Return the first line, without white space at its end; "" if the file cannot be read."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    return text.partition("\n")[0].rstrip()
