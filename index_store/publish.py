"""Build an index from the stored vectors; publish it in one step."""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path

import numpy as np

from index_store import ann
from index_store.disk import sync_data, sync_folder
from index_store.errors import StoreFull
from index_store.recipe import SMALLEST, Recipe
from index_store.schema import exact_key
from index_store.segment import Halves
from index_store.shelf import INDEXES, IndexFile, Shelf
from index_store.types import Kind
from index_store.writer import Writer

STALE = 0.2  # the part of the rows that may be newer than the index


def build(shelf: Shelf, recipe: Recipe) -> ann.AnnIndex:
    """Return a trained index over all slots of the shelf; nothing is written."""
    rows = [part.rows for part in shelf.parts]
    return ann.build(recipe, rows, _sample(rows, recipe.train_rows()), rows[0].shape[1])


def publish(
    writer: Writer, store: Path, collection: int, kind: Kind, shelf: Shelf,
    index: ann.AnnIndex | None, recipe: Recipe, *, lasting: bool = False,
) -> bool:  # fmt: skip
    """Make an index over the shelf's slots durable, and then the current one.

    None: searches are exact from now on; lasting: also when `build_index` comes by. Returns
    False, and leaves nothing, if a compaction has moved the rows since the shelf was looked at.

    Raises:
        StoreFull, WriteFailed: the file could not be written; the older index stays.
    """
    folder = store / INDEXES
    if index is None:
        for name in writer.publish(collection, kind, None, lasting=lasting):
            retire(folder / name)
        return True
    path = folder / f"c{collection}-{kind}-{shelf.end}-{uuid.uuid4().hex[:8]}.faiss"
    temporary = path.with_suffix(".tmp")
    try:
        size, digest = index.save(temporary)
        with temporary.open("rb+") as file:
            sync_data(file.fileno())
        if temporary.stat().st_size != size:
            raise StoreFull(store)
        temporary.replace(path)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:
        # faiss turns an exception of our writer into a RuntimeError.
        temporary.unlink(missing_ok=True)
        raise writer.failed(error.__cause__ or error) from error
    base = shelf.segments[0].base
    file_ = IndexFile(0, recipe.text, base, shelf.end, path, size, digest)
    retired = writer.publish(collection, kind, file_)
    for name in retired:
        retire(folder / name)
    return path.name not in retired


def pays(shelf: Shelf, threshold: int) -> bool:
    """Return whether a new index would pay for this many rows and so old an index."""
    if shelf.slots < max(threshold, SMALLEST):
        return False
    newer = shelf.end - (shelf.index_file.upto if shelf.index_file else shelf.segments[0].base)
    return shelf.index is None or newer > STALE * shelf.slots


def stays_exact(connection: sqlite3.Connection, collection: int, kind: Kind) -> bool:
    """Return whether the last index that was asked for by name was none."""
    key = exact_key(collection, kind)
    return connection.execute("SELECT 1 FROM kv WHERE key = ?", [key]).fetchone() is not None


def retire(path: Path) -> None:
    """Remove a file that nothing names any more. If a reader holds it (Windows): next time."""
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        if path.exists() and os.name != "nt":
            raise


def _sample(rows: list[Halves], most: int) -> Halves:
    """Return at most so many rows, evenly spaced: the same for the same rows."""
    total = sum(len(r) for r in rows)
    chosen = np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))
    starts = np.cumsum([0, *(len(r) for r in rows)])
    parts = [
        r[chosen[(chosen >= s) & (chosen < s + len(r))] - s]
        for r, s in zip(rows, starts, strict=False)
    ]
    return np.concatenate(parts)
