"""Hard negatives: batches of pictures that the model takes for one another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmsearch.train.pairs import Ids

GROUP = 8


def grouped_order(
    images: npt.NDArray[np.float32],
    texts: npt.NDArray[np.float32],
    *,
    seed: int,
    group: int = GROUP,
) -> Ids:
    """Return an order of the pictures in which groups of neighbours stand together.

    A random picture not yet taken draws its nearest ones not yet taken, by the mean of the
    picture-picture and the text-picture score: what looks alike, and what its caption would
    find by mistake. The groups then are shuffled: a batch holds several, so its negatives are
    hard and easy ones. All-hard batches are known to collapse training (arXiv:1503.03832, 3.2).

    Args:
        images: (n, dim) unit rows.
        texts: (n, dim) unit rows, one text for each picture.
        seed: of the random choices.
        group: pictures that stand together.
    """
    rng = np.random.default_rng(seed)
    n = len(images)
    free = np.ones(n, bool)
    groups: list[Ids] = []
    for start in rng.permutation(n):
        if not free[start]:
            continue
        free[start] = False
        scores = images @ (images[start] + texts[start])
        scores[~free] = -np.inf
        wanted = min(group - 1, int(free.sum()))
        nearest = np.argsort(-scores, kind="stable")[:wanted]
        free[nearest] = False
        groups.append(np.array([start, *nearest], np.int64))
    return np.concatenate([groups[i] for i in rng.permutation(len(groups))])
