"""The vectors of one kind in one collection, as of one commit: segments and maybe an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index_store.errors import StoreCorrupt
from index_store.scan import Mask, Part, Positions, Scores, decode, merge, rescore, scan, top
from index_store.segment import Halves, Segment
from index_store.segment import crc as segment_crc
from index_store.types import Kind, Vectors

if TYPE_CHECKING:
    from index_store.ann import AnnIndex
    from index_store.recipe import Recipe

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
        from index_store.recipe import parse

        return parse(self.type)


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a search looks through. Immutable: a newer commit makes a new one."""

    seq: int
    segments: tuple[Segment, ...]
    parts: tuple[Part, ...]
    index_file: IndexFile | None
    index: AnnIndex | None

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
        newer = None
        if file.upto < self.end:
            newer = scan([p.since(file.upto) for p in self.parts], queries, want, allowed)
        if allowed is not None and not recipe.selects:
            answers = []
            named = self.index.search(queries, candidates, probes)
            for query, found in zip(queries, named, strict=True):
                early = found[allowed[found + file.base]] + file.base
                answers.append((early, rescore(self.parts, query, early)))
        else:
            answers = self._scored(file, self.index, queries, want, candidates, probes, within)
        for n, (early, scores) in enumerate(answers):
            if allowed is not None and len(early) < needed:
                answers[n] = scan(self.parts, queries[n : n + 1], want, allowed)[0]
                continue
            exact = top(early, scores, want)
            answers[n] = exact if newer is None else merge(exact, newer[n], want)
        return answers

    def _scored(
        self, file: IndexFile, index: AnnIndex, queries: Vectors, want: int, candidates: int,
        probes: int, within: Mask | None,
    ) -> list[tuple[Positions, Scores]]:  # fmt: skip
        """Return positions and exact scores of the `want` best, or more, of the index's
        candidates for each query."""
        for part in self.parts:
            if part.base <= file.base and file.upto <= part.base + len(part.rows):
                rows = part.rows
                if len(rows) > file.upto - file.base:
                    rows = rows[file.base - part.base : file.upto - part.base]
                scored = index.scored(rows, queries, want, candidates, probes, within)
                if scored is not None:
                    return [(found + file.base, scores) for found, scores in scored]
        named = index.search(queries, candidates, probes, within)
        return [
            (found + file.base, rescore(self.parts, query, found + file.base))
            for query, found in zip(queries, named, strict=True)
        ]

    def sample(self, n: int, dim: int) -> Vectors:
        """Return (up to n, dim) rows, evenly spread over the positions; dead ones among them."""
        chosen = np.unique(np.linspace(0, max(self.slots - 1, 0), n).astype(np.int64))
        rows, before = [np.empty((0, dim), np.float32)], 0
        for part in self.parts:
            here = chosen[(chosen >= before) & (chosen < before + len(part.rows))] - before
            rows.append(decode(part.rows[here]))
            before += len(part.rows)
        return np.concatenate(rows)

    def row(self, position: int, crc: object) -> Halves:
        """Return one stored vector as it is stored, (dim,), compared with its checksum.

        Raises:
            StoreCorrupt: it is not what was written, or not there.
        """
        self.check([position], [crc])
        return self._stored(position)

    def check(self, positions: Sequence[int], crcs: Sequence[object]) -> None:
        """Compare stored vectors with their checksums; see `row` for errors."""
        for position, crc in zip(positions, crcs, strict=True):
            if segment_crc(self._stored(position)) != crc:
                (path,) = (s.path for s in self.segments if s.base <= position < s.end)
                raise StoreCorrupt(path, f"the vector at position {position} has changed")

    def _stored(self, position: int) -> Halves:
        for part in self.parts:
            at = position - part.base
            if 0 <= at < len(part.rows):
                row: Halves = part.rows[at]
                return row
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


def _load_index(file: IndexFile | None) -> AnnIndex | None:
    """Return the index; None, and so exact search, if its file is gone or damaged."""
    if file is None or file.recipe is None:
        return None
    from index_store import ann

    try:
        return ann.load(file.path, file.size, file.blake2b)
    except (OSError, StoreCorrupt):
        # The index is a cache: `verify` reports the damage, the next build replaces it.
        return None
