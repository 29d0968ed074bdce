"""The vectors of one kind in one collection, as of one commit: segments and maybe an index."""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index_store import ann
from index_store.errors import StoreCorrupt
from index_store.recipe import Recipe, parse
from index_store.scan import Mask, Part, Positions, Scores, merge, rescore, scan
from index_store.segment import Halves, Segment
from index_store.types import Kind, Vectors

VECTORS = "vec"
INDEXES = "idx"
WARM_BYTES = 512 << 20
# Rows that pass a filter: up to here looking at each of them is fast, and loses nothing. So it
# is for a small part of a large collection, where an index finds little of what passes.
FEW, FEW_OF_MANY = 5_000, 100_000


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One published index: covers positions `base` up to `upto`."""

    generation: int
    type: str
    base: int
    upto: int
    path: Path
    size: int
    blake2b: str

    @property
    def recipe(self) -> Recipe | None:
        """How to ask it; None if this version cannot."""
        return parse(self.type)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a search looks through. Immutable: a newer commit makes a new one."""

    seq: int
    segments: tuple[Segment, ...]
    parts: tuple[Part, ...]
    index_file: IndexFile | None
    index: ann.AnnIndex | None

    @property
    def end(self) -> int:
        """One past the last position."""
        return self.segments[-1].end if self.segments else 0

    @property
    def slots(self) -> int:
        return sum(s.slots for s in self.segments)

    def best(
        self, queries: Vectors, want: int, allowed: Mask | None = None, effort: int | None = None
    ) -> list[tuple[Positions, Scores]]:
        """Return the `want` best positions and exact scores for each query.

        Under a filter: few rows that pass are all scored; else the index looks for them. If it
        finds too few (what passes lies far from the query), all that pass are scored after
        all, so that nothing is lost in silence.
        """
        file = self.index_file
        recipe = file.recipe if file else None
        if file is None or recipe is None or self.index is None:
            return scan(self.parts, queries, want, allowed)
        candidates, probes = recipe.asked(want, effort)
        needed = candidates if recipe.selects else candidates // 2
        if allowed is not None:
            passing = int(np.count_nonzero(allowed))
            part = self.slots // (10 if recipe.selects else 32)
            if passing <= FEW or passing <= min(part, FEW_OF_MANY):
                return scan(self.parts, queries, want, allowed)
            candidates, probes = recipe.asked(want, effort, passing / self.slots)
        if candidates * 2 >= self.slots:
            return scan(self.parts, queries, want, allowed)
        within = allowed[file.base : file.upto] if allowed is not None and recipe.selects else None
        newer = scan([p.since(file.upto) for p in self.parts], queries, want, allowed)
        answers = []
        for query, found, late in zip(
            queries, self.index.search(queries, candidates, probes, within), newer, strict=True
        ):
            early = found + file.base
            if allowed is not None:
                early = early[allowed[early]]
                if len(early) < needed:
                    answers += scan(self.parts, query[None], want, allowed)
                    continue
            early = np.sort(early)
            empty = early[:0], np.empty(0, np.float32)
            exact = merge(empty, (early, rescore(self.parts, query, early)), want)
            answers.append(merge(exact, late, want))
        return answers

    def row(self, position: int, crc: object) -> Halves:
        """Return one stored vector as it is stored, compared with its checksum.

        Raises:
            StoreCorrupt: it is not what was written, or not there.
        """
        for part, segment in zip(self.parts, self.segments, strict=True):
            if part.base <= position < part.base + len(part.rows):
                row: Halves = part.rows[position - part.base]
                if zlib.crc32(row.tobytes()) == crc:
                    return row
                raise StoreCorrupt(segment.path, f"the vector at position {position} has changed")
        raise StoreCorrupt(Path(VECTORS), f"the vector at position {position} is missing")

    def warmed(self) -> Shelf:
        """Return the shelf with its vectors decoded in memory, if that is not too much.

        A single query reads them from the file and converts them; a process that asks again
        need not pay that again.
        """
        size = sum(part.rows.size * 4 for part in self.parts)
        if size > WARM_BYTES or all(part.floats is not None for part in self.parts):
            return self
        return replace(self, parts=tuple(part.decoded() for part in self.parts))


def read_segments(
    connection: sqlite3.Connection, collection: int, kind: Kind, dim: int, store: Path
) -> tuple[Segment, ...]:
    """Return the committed segments in the order of their positions."""
    return tuple(
        Segment(store / VECTORS / file, dim, base, slots, name)
        for file, base, slots, name in connection.execute(
            "SELECT file, base, slots, uuid FROM segment WHERE collection_id = ? AND kind = ? "
            "ORDER BY base",
            (collection, kind),
        )
    )


def read_index_file(
    connection: sqlite3.Connection, collection: int, kind: Kind, store: Path
) -> IndexFile | None:
    """Return the newest published index, or None."""
    row = connection.execute(
        "SELECT generation, type, base, upto, file, size, blake2b FROM idx "
        "WHERE collection_id = ? AND kind = ? ORDER BY generation DESC LIMIT 1",
        (collection, kind),
    ).fetchone()
    if row is None:
        return None
    generation, type_, base, upto, name, size, blake2b = row
    return IndexFile(generation, type_, base, upto, store / INDEXES / name, size, blake2b)


def load_shelf(
    connection: sqlite3.Connection, collection: int, kind: Kind, dim: int, store: Path,
    *, seq: int, older: Shelf | None = None,
) -> Shelf:  # fmt: skip
    """Return the shelf as the connection's snapshot sees it; what `older` has open is kept.

    Raises:
        StoreCorrupt: a segment is missing or shorter than committed.
    """
    segments = read_segments(connection, collection, kind, dim, store)
    opened = dict(zip(older.segments, older.parts, strict=True)) if older else {}
    # As a plain array: numpy's memmap costs microseconds for every row taken from it.
    parts = tuple(opened.get(s) or Part(s.base, np.asarray(s.open())) for s in segments)
    file = read_index_file(connection, collection, kind, store)
    index = older.index if older and older.index_file == file else _load_index(file)
    return Shelf(seq, segments, parts, file, index)


def _load_index(file: IndexFile | None) -> ann.AnnIndex | None:
    """Return the index; None, and so exact search, if its file is gone or damaged."""
    if file is None or file.recipe is None:
        return None
    try:
        return ann.load(file.path, file.size, file.blake2b)
    except (OSError, StoreCorrupt):
        # The index is a cache: `verify` reports the damage, the next build replaces it.
        return None
