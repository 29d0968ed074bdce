"""Captions of a picture: those that are a little like every picture come up less.

Querybank normalisation (Bogolin et al., CVPR 2022, arXiv:2112.12777) with the inverted softmax of
Smith et al. (ICLR 2017, arXiv:1702.03859), where the bank are pictures v_j of the collection: a
part of how much a caption t is like the bank goes off its cosine with the picture v that asks,

    s(v, t) = t.v - weight * (b(t) - its mean),  b(t) = log(mean over the bank of exp(T t.v_j)) / T

Nothing is stored for it, and every encoder gains. `mmsearch.train.querybank` does the same to
pictures, within a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from index_store.types import Match, Vectors
from mmsearch.composing import FEWEST
from mmsearch.stored_rows import rows_of
from mmsearch.types import Hit

if TYPE_CHECKING:
    from index_store import Collection, Where

# All chosen on the validation splits of the data sets in DATA.md (docs/queries.md).
BANK = 1_000  # pictures, and captions for the mean
POOL = 400  # captions that are looked at, at least
SHARPNESS = 3.0  # T, by the deviation of the cosines
WEIGHT = 0.75
HALF = 200  # pictures in a bank that has half of that weight: a small one knows few pictures


class Hubness:
    """How much more a text is like a bank of pictures than others are, as a part of a cosine."""

    def __init__(self, pictures: Vectors, texts: Vectors) -> None:
        """Take pictures, (n, dim), and some texts, (m, dim), whose mean counts as none."""
        deviation = max(float((texts @ pictures.T).std()), 1e-6)
        self._sharpness = np.float32(SHARPNESS / deviation)
        self._bank = pictures * self._sharpness
        self._weight = WEIGHT * len(pictures) / (len(pictures) + HALF)
        self._mean = float(self._like(texts).mean())

    def __call__(self, rows: Vectors) -> Vectors:
        """Return what goes off the cosines of (n, dim) texts, (n,)."""
        off: Vectors = np.float32(self._weight) * (self._like(rows) - self._mean)
        return off

    def _like(self, rows: Vectors) -> Vectors:
        logits = rows @ self._bank.T
        most = logits.max(1)
        likeness: Vectors = np.log(np.exp(logits - most[:, None]).mean(1)) + most
        return likeness / self._sharpness


def hubness_of(collection: Collection) -> Hubness | None:
    """Return it for a collection's texts; None if there are too few to tell."""
    pictures, texts = (collection.sample(kind, BANK) for kind in ("image", "text"))
    if min(len(pictures), len(texts)) < FEWEST:
        return None
    return Hubness(pictures, texts)


def captions_of(
    collection: Collection, rows: Vectors, k: int,
    *, hubness: Hubness | None, where: Where | None = None,
) -> list[list[Hit]]:  # fmt: skip
    """Return up to k texts for each of (n, dim) pictures, best first.

    A hit's score is the cosine, the part "vector", less its hubness, the part "hubness".

    Raises:
        BadFilter: the filter cannot be understood.
    """
    pool = k if hubness is None else max(POOL, 4 * k)
    found = collection.search(rows, pool, kind="text", where=where)
    return [_ordered(collection, matches, hubness)[:k] for matches in found]


def _ordered(
    collection: Collection, matches: Sequence[Match], hubness: Hubness | None
) -> list[Hit]:
    off = dict.fromkeys((m.item.key for m in matches), 0.0)
    if hubness is not None and matches:
        rows = rows_of(collection, [*off])
        off |= zip(rows, hubness(np.stack([*rows.values()])).tolist(), strict=True)
    order = sorted(matches, key=lambda m: off[m.item.key] - m.score)
    return [
        Hit(
            rank, m.item, m.score - off[m.item.key],
            {"vector": m.score} | ({} if hubness is None else {"hubness": -off[m.item.key]}),
        )
        for rank, m in enumerate(order, start=1)
    ]  # fmt: skip


__all__ = ["Hubness", "captions_of", "hubness_of"]
