"""A parquet table of texts and of pictures: their paths, or the pictures themselves."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from mmsearch.cells import footer_digest, parquet_file
from mmsearch.errors import BadSource
from mmsearch.readers import table
from mmsearch.readers.samples import real_path, reason_of
from mmsearch.sources import cell_uri
from mmsearch.stamps import told_stamp
from mmsearch.types import Item, Sample, Skipped
from mmsearch.uris import key_of, printable, stamp_of

_ROWS = 256  # read at once
_INSIDE = ".bytes"


def read_parquet(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures and texts of a parquet file, by the rules of `read_table`.

    Where a column holds pictures themselves (bytes under a picture column's name, or a
    structure with a field "bytes", as Hugging Face's data sets have), the first of these
    counts and each row is a picture of its own, with the key "TABLE#row-N"; that column is
    not read here. Rows count from 1. Dates and times become ISO 8601 text.

    Raises:
        BadSource: the file cannot be read, is no parquet, has neither a picture nor a text
            column, or has no such split.
        MissingExtra: pyarrow is not installed.
    """
    path = real_path(path)
    try:
        file = parquet_file(path)
        column = _picture_column(file.schema_arrow)
        if column is not None:
            yield from _cells(path, file, column, split)
            return
        table.check_columns(path, file.schema_arrow.names)
        groups = (file.metadata.row_group(g) for g in range(file.num_row_groups))
        whole = sum(g.total_byte_size for g in groups) <= table.GROUPED_BYTES
        yield from table.samples(path, _records(file, None), split=split, whole=whole)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these
        if isinstance(error, OSError) and error.strerror:
            raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
        why = str(error).partition("\n")[0]
        raise BadSource(f"{printable(path)} cannot be read as parquet: {why}") from error


def _cells(path: str, file: Any, column: str, split: str | None) -> Iterator[Sample | Skipped]:
    """Yield the samples of a table that holds its pictures in a column."""
    key, stamp, footer = key_of(path), stamp_of(Path(path).stat()), footer_digest(path)
    for row in table.rows(path, _described(file, column), split=split):
        if isinstance(row, table.Row):
            yield _sample(row, key, stamp, cell_uri(path, column, row=row.n, footer=footer))


def _described(file: Any, column: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the numbered rows without their pictures, with the picture's name in its place."""
    top = column.removesuffix(_INSIDE)
    others = [name for name in file.schema_arrow.names if name != top]
    if top != column:
        others.append(f"{top}.path")  # if there is such a field
    place = table.PICTURE_COLUMNS[0]
    for n, record in _records(file, others):
        structure = record.pop(top, None)
        path = structure.get("path") if isinstance(structure, dict) else None
        # First, and so before other columns that may name a picture.
        yield n, {place: path or f"row-{n}", **{k: v for k, v in record.items() if k != place}}


def _records(file: Any, columns: list[str] | None) -> Iterator[tuple[int, dict[str, Any]]]:
    n = 0
    for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
        for record in batch.to_pylist():
            n += 1
            yield n, {name: _value(value) for name, value in record.items()}


def _value(value: Any) -> Any:
    """Return what a table's other formats can hold: dates as text, decimals as numbers."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _sample(row: table.Row, key: str, stamp: str, uri: str) -> Sample:
    meta = {
        **row.extra,
        "name": printable(posixpath.basename(row.name.replace("\\", "/"))) or f"row-{row.n}",
        "folder": printable(key),
    }
    stamp = f"{stamp}@{row.n}{told_stamp(row.texts, row.extra, own=True)}"
    item = Item(f"{key}#row-{row.n}", "image", uri, "", stamp, meta=meta)
    return Sample(item, captions=tuple(row.texts), own=True)


def _picture_column(schema: Any) -> str | None:
    """Return the name of the first column that holds pictures: "image", or "image.bytes"."""
    from pyarrow import types

    for field in schema:
        if types.is_struct(field.type):
            inner = {f.name: f.type for f in field.type}
            if "bytes" in inner and _is_bytes(inner["bytes"]):
                return f"{field.name}{_INSIDE}"
        elif _is_bytes(field.type) and field.name.lower() in table.PICTURE_COLUMNS:
            return str(field.name)
    return None


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return any(is_(kind) for is_ in (types.is_binary, types.is_large_binary, types.is_binary_view))
