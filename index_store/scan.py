"""Exact search: every row, in tiles, straight from the float16 file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index_store.segment import Halves
from index_store.types import Vectors

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

TILE = 1_024  # rows: 2 MiB as float32 at 512-d, so a tile stays in a core's own cache
BLOCK = 64  # tiles whose scores are merged at once: a merge costs as much as a tile
FEW = 4  # queries; more have eight times as many rows a tile, and a merge for each


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of the positions from `base` on; `floats`: the same, decoded for a fast scan."""

    base: int
    rows: Halves
    floats: Vectors | None = None

    def decoded(self) -> Part:
        """Return the part with its rows decoded in memory: twice their size on disk."""
        return self if self.floats is not None else replace(self, floats=decode(self.rows))

    def since(self, position: int) -> Part:
        """Return what it holds from this position on."""
        skip = max(position - self.base, 0)
        floats = None if self.floats is None else self.floats[skip:]
        return Part(self.base + skip, self.rows[skip:], floats)


# What `scan` does, which may be done elsewhere: (parts, queries, k, allowed) -> the k best.
Scan = Callable[[Sequence[Part], Vectors, int, Mask | None], list[tuple[Positions, Scores]]]


def scan(
    parts: Sequence[Part], queries: Vectors, k: int, allowed: Mask | None = None
) -> list[tuple[Positions, Scores]]:
    """Return, for each query, the k best positions and scores, best first.

    Equal scores stand in the order of their positions, so the best 5 are always the first
    5 of the best 15.

    Args:
        queries: (q, dim) unit rows.
        allowed: indexed by position; rows where it is False are not looked at.
    """
    best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
    # One room for all tiles. Memory that is new for each costs a fault for every page.
    step, block = (TILE, BLOCK * TILE) if len(queries) <= FEW else (8 * TILE, 8 * TILE)
    room = np.empty((step, queries.shape[1]), np.float32)
    for part in parts:
        rows = part.rows if part.floats is None else part.floats
        passing = None
        if allowed is not None:
            passing = np.flatnonzero(allowed[part.base : part.base + len(rows)])
        n = len(rows) if passing is None else len(passing)
        for first in range(0, n, block):
            last = min(first + block, n)
            scores = np.empty((len(queries), last - first), np.float32)
            for start in range(first, last, step):
                place = slice(start, min(start + step, last))
                tile = rows[place] if passing is None else rows[passing[place]]
                floats = decode(tile, room[: len(tile)])
                out = scores[:, place.start - first : place.stop - first]
                np.matmul(queries, floats.T, out=out)
            chosen = np.arange(first, last) if passing is None else passing[first:last]
            positions = chosen + part.base
            best = [merge(b, (positions, s), k) for b, s in zip(best, scores, strict=True)]
    return best


def rescore(parts: Sequence[Part], query: Vectors, positions: Positions) -> Scores:
    """Return the exact scores of one query, shape (dim,), with the rows at these positions."""
    scores = np.empty(len(positions), np.float32)
    for part in parts:
        here = np.flatnonzero((positions >= part.base) & (positions < part.base + len(part.rows)))
        if len(here):
            # Not @: a product this small costs more to share among threads than to do.
            scores[here] = np.vecdot(decode(part.rows[positions[here] - part.base]), query)
    return scores


def merge(
    a: tuple[Positions, Scores], b: tuple[Positions, Scores], k: int
) -> tuple[Positions, Scores]:
    """Return the k best of two lists, best first, ties by position."""
    # Most tiles hold nothing better than what is there already.
    if len(a[1]) >= k and len(b[1]):
        keep = b[1] >= a[1][-1]
        b = b[0][keep], b[1][keep]
    return top(np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]]), k)


def top(positions: Positions, scores: Scores, k: int) -> tuple[Positions, Scores]:
    """Return the k best, best first, ties by position."""
    if len(scores) > k:
        # All of the ties at rank k stay in, or argpartition would choose among them at will.
        keep = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        positions, scores = positions[keep], scores[keep]
    order = np.lexsort((positions, -scores))[:k]
    return positions[order], scores[order]


def decode(rows: Halves | Vectors, out: Vectors | None = None) -> Vectors:
    """Return the rows as float32, exactly; float16 rows must be finite, as stored ones are.

    Eight times faster than `astype`, which converts one number at a time: sign, exponent and
    mantissa are shifted to their places and the exponent is corrected by a product.

    Args:
        out: of their shape, to be filled and returned, unless the rows are float32 already.
    """
    if rows.dtype == np.float32:
        return rows  # type: ignore[return-value]
    floats = np.empty(rows.shape, np.float32) if out is None else out
    bits = floats.view(np.int32)
    bits[...] = np.asarray(rows).view(np.int16)  # apart from the shift, which then is in place
    bits <<= 13
    bits &= np.int32(-0x70002000)  # the sign, which the shift has spread, and the 15 bits
    floats *= np.float32(2.0**112)  # from float16's bias of 15 to 127
    return floats
