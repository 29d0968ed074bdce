"""The thumbnails of many pairs compared, by threads: in batches whose pictures have one shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mmsearch.organise.matching import Likenesses, Thumbnail, likenesses
from mmsearch.pipeline import map_ahead

Numbers = npt.NDArray[np.int64]

BATCH = 256  # pairs; a larger one works on more memory than a core's cache holds


def compare(
    looks: Mapping[int, Thumbnail], pairs: Numbers, crops: npt.NDArray[np.bool_],
    enough: npt.NDArray[np.float64], *, threads: int,
) -> Likenesses:  # fmt: skip
    """Return how alike the pictures of each pair are, see `likenesses`; -1 where one is missing.

    Args:
        looks: thumbnails by picture.
        pairs: (n, 2) pictures.
    """
    found = np.full(len(pairs), -1.0)

    def work(batch: Numbers) -> Likenesses:
        ones, others = (np.stack([looks[n] for n in side]) for side in pairs[batch].T.tolist())
        return likenesses(ones, others, crops[batch], enough[batch])

    pairs, batches = _by_shape(looks, pairs)
    results = map_ahead(work, batches, threads=threads, ahead=4 * threads)
    for batch, alike in zip(batches, results, strict=True):
        found[batch] = alike
    return found


def _by_shape(looks: Mapping[int, Thumbnail], pairs: Numbers) -> tuple[Numbers, list[Numbers]]:
    """Return the pairs, some turned round, and batches of their numbers, each of two shapes."""
    kinds: dict[tuple[int, ...], int] = {}
    kind = np.full(int(pairs.max(initial=-1)) + 1, -1)
    for n in np.unique(pairs).tolist():
        if n in looks:
            kind[n] = kinds.setdefault(looks[n].shape, len(kinds))
    pairs = np.where((kind[pairs[:, 0]] > kind[pairs[:, 1]])[:, None], pairs[:, ::-1], pairs)
    of = kind[pairs]
    order = np.lexsort((pairs[:, 0], of[:, 1], of[:, 0]))
    order = order[of[order].min(axis=1, initial=0) >= 0]
    changes = np.flatnonzero(np.any(np.diff(of[order], axis=0), axis=1)) + 1
    return pairs, [
        part[start : start + BATCH]
        for part in np.split(order, changes)
        for start in range(0, len(part), BATCH)
    ]
