"""All pairs of vectors that are close to one another, without comparing all with all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from index_store.ann import kmeans
from index_store.scan import decode
from index_store.segment import Halves
from index_store.types import Vectors

Pairs = npt.NDArray[np.int64]  # (m, 2), the smaller number first, each pair once
Scores = npt.NDArray[np.float32]

EXACT_ROWS = 10_000  # up to here every pair is looked at: a second or two
LIST_ROWS = 500  # rows a list, on average
LISTS = 8  # a row is looked for in that many lists, the nearest ones
_TILE = 1_024


def close_pairs(
    rows: Halves | Vectors, threshold: float, *, most: int = 10, exact_rows: int = EXACT_ROWS
) -> tuple[Pairs, Scores]:
    """Return the pairs of rows whose cosine is at least `threshold`, and the cosines.

    Above `exact_rows` the rows are put into lists of neighbours (k-means), and each is compared
    with the centres of all lists and with the rows of the `LISTS` nearest to it: some 4,000 and
    n / 500 comparisons instead of n. A pair that is hardly close can be missed.

    Args:
        rows: (n, dim) unit rows.
        most: pairs that one row may bring in, its nearest; of equal ones the first, so that
            many copies of one row hang together by it.
    """
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Scores]] = []
    if len(rows) <= exact_rows:
        everyone = np.arange(len(rows))
        found += _best(rows, everyone, everyone, threshold, most)
    else:
        near = _nearest_lists(rows)
        order = np.argsort(near.reshape(-1), kind="stable")
        bounds = np.searchsorted(near.reshape(-1)[order], np.arange(near.max() + 2))
        for start, end in itertools.pairwise(bounds):
            places = order[start:end]
            own = places[places % LISTS == 0] // LISTS
            found += _best(rows, own, np.sort(places // LISTS), threshold, most)
    if not found:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)
    a, b, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    pairs = np.column_stack([np.minimum(a, b), np.maximum(a, b)])
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return pairs, scores[first]


def _best(
    rows: Halves | Vectors, own: Pairs, others: Pairs, threshold: float, most: int
) -> Iterator[tuple[Pairs, Pairs, Scores]]:
    """Yield, for tiles of `own`, rows, their nearest among `others`, and the cosines."""
    theirs = decode(rows[others])
    for start in range(0, len(own), _TILE):
        mine = own[start : start + _TILE]
        scores = decode(rows[mine]) @ theirs.T
        scores[mine[:, None] == others[None]] = -2.0  # a row is no neighbour of its own
        at, which = np.nonzero(scores >= threshold)
        values = scores[at, which]
        order = np.lexsort((which, -values, at))
        at, which, values = at[order], which[order], values[order]
        # The place of each among its row's: its number less that of the row's first.
        place = np.arange(len(at)) - np.searchsorted(at, at)
        kept = place < most
        yield mine[at[kept]], others[which[kept]], values[kept]


def _nearest_lists(rows: Halves | Vectors) -> npt.NDArray[np.int64]:
    """Return the numbers of the `LISTS` lists nearest to each row, (n, LISTS)."""
    count = max(len(rows) // LIST_ROWS, LISTS)
    chosen = np.random.default_rng(0).choice(len(rows), min(len(rows), 64 * count), replace=False)
    centres = kmeans(decode(rows[np.sort(chosen)]), count, rounds=8)
    near = np.empty((len(rows), LISTS), np.int64)
    for start in range(0, len(rows), _TILE):
        scores = decode(rows[start : start + _TILE]) @ centres.T
        top = np.argpartition(-scores, LISTS - 1, axis=1)[:, :LISTS]
        order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1)
        near[start : start + _TILE] = np.take_along_axis(top, order, 1)
    return near
