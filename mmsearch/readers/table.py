"""A table of pictures and texts: csv, tsv, jsonl, or records from elsewhere."""

from __future__ import annotations

import csv
import json
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.errors import BadSource
from mmsearch.readers.samples import Places, Splits, real_path, reason_of, scalars
from mmsearch.stamps import digest
from mmsearch.types import Item, MetaValue, Sample, Skipped
from mmsearch.uris import clean, key_of, printable, uri_of

# The first of these columns with a value counts; capitals don't.
PICTURE_COLUMNS = (
    "filepath", "file_name", "filename", "image", "path", "image_path", "image_name", "url",
    "image_file", "img_path", "img", "file",
)  # fmt: skip
TEXT_COLUMNS = ("caption", "text", "title", "description", "raw", "sentence", "comment")
# Up to this size all rows of one picture are brought together wherever they stand; of a
# larger table only neighbours are: held rows take about five times their size in the file.
GROUPED_BYTES = 128 * 1024 * 1024

_FIELD_CHARACTERS = 2**31 - 1  # csv's own limit of 131,072 is shorter than some texts
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")
_BOMS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class NoColumns(BadSource):
    """A table in which nothing is known to be a picture or a text."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is neither a picture nor a text."""

    n: int
    reason: str


@dataclass(slots=True)
class Row:
    """What a table says about one picture (name is its path) or text (name is empty).

    n: the row's number as a spreadsheet counts (the header is row 1), in jsonl the line.
    """

    n: int
    name: str
    texts: list[str] = field(default_factory=list)
    extra: Mapping[str, MetaValue] = field(default_factory=dict)


def read_table(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures and texts of a csv, tsv or jsonl file, in the order of their first row.

    A picture's path is relative to the table's folder. Several rows of one picture become one
    sample with several captions (GROUPED_BYTES says how far apart they may stand). A row with
    a text and no picture becomes a text item with the key "TABLE#row-N". Columns that are
    neither become meta; in csv and tsv plain numbers become numbers.

    Args:
        path: its suffix says what it is.
        split: keep the rows whose column "split" says so ("test", "train,val").

    Raises:
        BadSource: the file cannot be read or parsed, has neither a picture nor a text column,
            or has no such split.
    """
    yield from samples(path, records(path), split=split, whole=is_grouped(path))


def samples(
    path: str,
    numbered: Iterable[tuple[int, Mapping[str, Any] | str]],
    *,
    split: str | None = None,
    whole: bool = True,
    near: Places | None = None,
) -> Iterator[Sample | Skipped]:
    """Yield the samples of numbered records; `read_table` says how.

    Args:
        path: the file that they come from.
        numbered: each with its number, or the reason why it cannot be read.
        split: as for `read_table`.
        whole: bring all records of one picture together; otherwise only neighbours.
        near: where the pictures are; None is the file's folder.

    Raises:
        BadSource: no record has a picture or a text, or the split isn't there.
    """
    path = real_path(path)
    key, uri = key_of(path), uri_of(path)
    near = near or Places(str(Path(path).parent))
    for row in _merged(rows(path, numbered, split=split), whole):
        mark = f"#row-{row.n}"
        if isinstance(row, BadRow):
            yield Skipped(key + mark, uri + mark, f"row {row.n}: {row.reason}")
        elif row.name:
            yield near.sample(row.name, where=f"row {row.n}", captions=row.texts, extra=row.extra)
        else:
            stamp = digest(row.texts, row.extra)
            item = Item(key + mark, "text", uri + mark, row.texts[0], stamp, meta=row.extra)
            yield Sample(item)


def rows(
    path: str,
    numbered: Iterable[tuple[int, Mapping[str, Any] | str]],
    *,
    split: str | None = None,
) -> Iterator[Row | BadRow]:
    """Yield what each of the numbered records says, before those of one picture are merged.

    Raises:
        BadSource: no record has a picture or a text, or the split isn't there.
    """
    checked, n, splits = False, 0, Splits(split)
    for n, record in numbered:
        if isinstance(record, str):
            yield BadRow(n, record)
            continue
        columns = {name.lower(): name for name in reversed(list(record))}
        if not checked:
            check_columns(path, list(record))
            checked = True
        if not splits.keeps(record.get(columns.get("split", ""))):
            continue
        picture, text = (
            _filled(record, columns, PICTURE_COLUMNS),
            _filled(record, columns, TEXT_COLUMNS),
        )
        name = str(record[picture]).strip().replace("\0", "") if picture else ""
        texts = _texts(record[text]) if text else []
        if name or texts:
            extra = scalars(record, without=(picture, text))
            yield Row(n, name, texts if name else [" ".join(texts)], extra)
        else:
            yield BadRow(n, "neither a picture nor a text")
    if n and not checked:
        raise BadSource(f"no line of {printable(path)} is a JSON object")
    splits.check(path)


def rows_by_picture(path: str) -> list[Row]:
    """Return the rows that name a picture, those of one picture together.

    Raises:
        NoColumns: it has no usable column, or no row names a picture.
        BadSource: it cannot be read or parsed.
    """
    found = _merged(rows(path, records(path)), whole=True)
    named = [r for r in found if isinstance(r, Row) and r.name]
    if not named:
        raise NoColumns(f"no row of {printable(path)} names a picture")
    return named


def is_grouped(path: str) -> bool:
    """Return whether a table is small enough to bring all rows of one picture together.

    Raises:
        BadSource: it cannot be read.
    """
    try:
        return Path(path).stat().st_size <= GROUPED_BYTES
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error


def spelling(name: str) -> str:
    """Return the form that all spellings of a relative path share: ./a, a and sub\\..\\a.

    NFC, because macOS hands out NFD names and the table was most likely typed in NFC.
    """
    return posixpath.normpath(unicodedata.normalize("NFC", name.replace("\\", "/")))


def records(path: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield the numbered rows of a file, or of a line that cannot be read the reason.

    Raises:
        NoColumns: a csv file has no usable header.
        BadSource: the file cannot be read or parsed.
    """
    suffix = Path(path).suffix.lower()
    try:
        with Path(path).open("rb") as file:
            start = file.read(4)
        encoding = next((name for bom, name in _BOMS if start.startswith(bom)), "utf-8-sig")
        # surrogateescape: a file name in the table keeps the bytes that it has on disk.
        errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
        with Path(path).open(encoding=encoding, errors=errors, newline="") as lines:
            clean_lines = (line.replace("\0", "") for line in lines)
            if suffix in (".jsonl", ".ndjson"):
                yield from _json_lines(clean_lines)
            else:
                yield from _csv_rows(path, clean_lines, tab=suffix == ".tsv")
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
    except csv.Error as error:
        raise BadSource(f"{printable(path)} is no table: {error}") from error


def _json_lines(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for n, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield n, f"not JSON: {error}"
            continue
        yield n, record if isinstance(record, dict) else "not a JSON object"


def _csv_rows(
    path: str, lines: Iterator[str], *, tab: bool
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(_FIELD_CHARACTERS)
    first = next(lines, "")
    delimiter = "\t" if tab else next((c for c in ",;\t" if c in first), ",")
    lists = csv.reader(_chained(first, lines), delimiter=delimiter)
    header = [name.strip() for name in next(lists, [])]
    check_columns(path, header)
    for n, cells in enumerate(lists, start=2):
        if any(cells):
            yield n, {k: _value(v) for k, v in zip(header, cells, strict=False) if k}


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _value(cell: str) -> str | int | float:
    """Return plain numbers as numbers, so that they can be compared; "007" and "1e5" are text."""
    if not _NUMBER.fullmatch(cell):
        return cell
    return float(cell) if "." in cell else int(cell)


def _merged(found: Iterable[Row | BadRow], whole: bool) -> Iterator[Row | BadRow]:
    """Yield rows with those of one picture made one; with whole=False only neighbours."""
    pending: dict[str | int, Row] = {}
    for row in found:
        if isinstance(row, BadRow):
            yield row
            continue
        if not whole and pending and spelling(row.name) not in pending:
            yield from pending.values()
            pending.clear()
        first = pending.setdefault(spelling(row.name) if row.name else row.n, row)
        if first is not row:
            first.texts += row.texts
            first.extra = {**row.extra, **first.extra}
    yield from pending.values()


def _filled(
    record: Mapping[str, Any], columns: Mapping[str, str], known: Sequence[str]
) -> str | None:
    """Return the record's own name of the first known column that has a value."""
    for name in known:
        own = columns.get(name)
        value = record[own] if own is not None else None
        if value not in (None, "", []) and not isinstance(value, dict):
            return own
    return None


def _texts(value: Any) -> list[str]:
    """Return the captions in a cell: one text, or a JSON list of them."""
    parts = value if isinstance(value, list) else [value]
    # Bytes that were no UTF-8 are exact in file names, and U+FFFD in texts.
    return [text for part in parts if (text := clean(str(part)))]


def check_columns(path: str, header: Sequence[str]) -> None:
    """Complain about a table of which no column is known.

    Raises:
        NoColumns: nothing in it can be a picture or a text.
    """
    if not {name.lower() for name in header} & {*PICTURE_COLUMNS, *TEXT_COLUMNS}:
        found = ", ".join(header[:20]) or "none"
        raise NoColumns(
            f"{printable(path)} has no column for pictures ({', '.join(PICTURE_COLUMNS)}) "
            f"or texts ({', '.join(TEXT_COLUMNS)}); found: {printable(found)}"
        )
