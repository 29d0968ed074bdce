"""Hard negatives: groups of pictures that the base takes for one another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmsearch.train.pairs import Ids
from mmsearch.train.rerank_data import RerankSet

AT_ONCE = 512


def mined(data: RerankSet, top: int) -> npt.NDArray[np.int32]:
    """Return (m, top): for each caption the pictures that the base ranks highest, in no order.

    Its own picture and those of its group are none of them; a place that is left is -1.
    """
    groups, owner = data.pairs.groups, data.pairs.owner
    top = min(top, len(data.images) - 1)
    found = np.empty((len(data.texts), top), np.int32)
    for start in range(0, len(data.texts), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        scores = data.texts[part] @ data.images.T
        scores[groups[owner[part]][:, None] == groups[None, :]] = -np.inf
        best = np.argpartition(-scores, top - 1, axis=1)[:, :top]
        best[np.isneginf(np.take_along_axis(scores, best, 1))] = -1
        found[part] = best
    return found


def grouped(
    rows: Ids, size: int, rng: np.random.Generator, near: npt.NDArray[np.int32] | None, starts: Ids
) -> list[Ids]:
    """Return disjoint groups of pictures in random order; what fills no group is left out.

    Args:
        rows: the pictures to use.
        size: of a group.
        rng: decides.
        near: as from `mined`; None: groups are random.
        starts: (n + 1,): the captions of picture i are starts[i] to starts[i + 1].
    """
    order = rng.permutation(rows)
    if near is None:
        return [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
    free = np.zeros(len(starts) - 1, bool)
    free[rows] = True
    groups = []
    for seed in order:
        if not free[seed]:
            continue
        free[seed] = False
        caption = rng.integers(starts[seed], starts[seed + 1])
        hard = near[caption][near[caption] >= 0]
        chosen = rng.permutation(hard[free[hard]])[: size - 1]
        if short := size - 1 - len(chosen):
            others = np.setdiff1d(np.flatnonzero(free), chosen)
            if len(others) < short:
                break
            chosen = np.concatenate([chosen, rng.choice(others, short, replace=False)])
        free[chosen] = False
        groups.append(np.array([seed, *chosen], np.int64))
    return [groups[i] for i in rng.permutation(len(groups))]
