"""Pictures in the cells of a parquet file: bytes in a column, or in the "bytes" of a structure.

Parquet can only be read from the start of a row group. So a column is read forwards, and the
last rows are kept: in the file's order each is decoded once, in any other order once or more.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmsearch.errors import BadPicture, MissingExtra
from mmsearch.uris import stamp_of

_ROWS = 16  # read at once
_BATCHES = 3  # kept, since threads ask a little out of order: 48 pictures in memory
_COLUMNS = 2  # open at the same time
_FOOTER_BYTES = 256 << 20
_MAGIC = b"PAR1"

_open: OrderedDict[tuple[str, str, str], _Column] = OrderedDict()
_lock = threading.Lock()


def parquet_file(path: str) -> Any:
    """Return pyarrow's `ParquetFile`, which does not read a column chunk as a whole.

    Raises:
        MissingExtra: pyarrow is not installed.
        OSError, ValueError: the file cannot be read, or is no parquet (pyarrow's own).
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise MissingExtra("reading parquet", "parquet") from error
    return ParquetFile(path, buffer_size=1 << 20)


def footer_digest(path: str) -> str:
    """Return 16 hexadecimal digits that differ when a parquet file has been written anew.

    Its footer has the place, the size and the number of values of every part.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no footer.
    """
    with Path(path).open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(end - 8, 0))
        tail = file.read(8)
        size = struct.unpack("<I", tail[:4])[0] if tail[4:] == _MAGIC else 0
        if not 0 < size <= min(end - 8, _FOOTER_BYTES):
            raise ValueError("no footer of parquet")
        file.seek(end - 8 - size)
        return hashlib.blake2b(file.read(size), digest_size=8).hexdigest()


def read_cell(path: str, column: str, row: int, *, footer: str) -> bytes:
    """Return the bytes in a cell. Thread-safe.

    Args:
        path: of the parquet file.
        column: its name; of a structure with the field, "image.bytes".
        row: counted from 1.
        footer: `footer_digest` of when the row was listed.

    Raises:
        BadPicture: the file has changed, cannot be decoded, or the cell is empty.
        MissingExtra: pyarrow is not installed.
        OSError: the file cannot be read.
    """
    key = (path, stamp_of(Path(path).stat()), column)
    with _lock:
        found = _open.get(key)
        if found is None:
            found = _open[key] = _Column(path, column)
        _open.move_to_end(key)
        while len(_open) > _COLUMNS:
            _open.popitem(last=False)
    return found.cell(row, footer)


class _Column:
    """One column of a file, read forwards; the rows read last are kept."""

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self._lock = threading.Lock()
        self._footer = ""
        self._starts: list[int] = []  # the first row of each row group, and the end
        self._kept: OrderedDict[int, Any] = OrderedDict()  # rows, by the first one's number
        self._batches: Iterator[Any] = iter(())
        self._next = self._end = 0  # of the batches: the next row, and where its group ends

    def cell(self, row: int, footer: str) -> bytes:
        """Return the bytes in a row. Raises as `read_cell` does."""
        with self._lock:
            try:
                if not self._footer:
                    self._footer = footer_digest(self._path)
                if self._footer != footer:
                    raise BadPicture("the parquet file has changed")
                value = self._value(row - 1)
            except (OSError, ValueError, KeyError, StopIteration) as error:  # pyarrow's too
                self._end = 0  # its reader is of no more use: the next call starts anew
                if isinstance(error, OSError) and error.strerror:
                    raise
                raise BadPicture(f"the parquet file cannot be decoded: {error}") from error
        if isinstance(value, dict):
            value = next(iter(value.values()), None)
        if not isinstance(value, bytes) or not value:
            raise BadPicture("the cell is empty")
        return value

    def _value(self, row: int) -> Any:
        for start, batch in self._kept.items():
            if start <= row < start + len(batch):
                return batch.column(0)[row - start].as_py()
        if not self._next <= row < self._end:
            self._start(row)
        while True:
            batch, start = next(self._batches), self._next
            self._next += len(batch)
            self._kept.pop(start, None)  # or it would keep its old place in the order
            self._kept[start] = batch
            while len(self._kept) > _BATCHES:
                self._kept.popitem(last=False)
            if row < self._next:
                return batch.column(0)[row - start].as_py()

    def _start(self, row: int) -> None:
        """Go to the start of the group that has the row, to read on from there."""
        file = parquet_file(self._path)
        if not self._starts:
            counts = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
            self._starts = [sum(counts[:g]) for g in range(len(counts) + 1)]
        group = next((g for g, end in enumerate(self._starts[1:]) if row < end), None)
        if group is None or row < 0:
            raise BadPicture("the parquet file has no such row")
        self._next, self._end = self._starts[group], self._starts[group + 1]
        self._batches = file.iter_batches(
            batch_size=_ROWS, row_groups=[group], columns=[self._name], use_threads=False
        )
