"""What is a little like everything comes up less: captions of a picture, pictures of a text.

Querybank normalisation (Bogolin et al., CVPR 2022, arXiv:2112.12777) with the inverted softmax of
Smith et al. (ICLR 2017, arXiv:1702.03859), where the bank are items v_j of the collection, of
another kind than what is found: a part of how much a caption t is like the pictures of the bank
goes off its cosine with the picture v that asks,

    s(v, t) = t.v - weight * (b(t) - its mean),  b(t) = log(mean over the bank of exp(T t.v_j)) / T

Nothing is stored for it, and every encoder gains. `mmsearch.train.querybank` does the same to
pictures, within a model, by captions of its training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from index_store.types import Kind, Match, Vectors
from mmsearch.composing import FEWEST
from mmsearch.stored_rows import Samples, rows_of
from mmsearch.types import Hit

if TYPE_CHECKING:
    from index_store import Collection, Where

# All chosen on the validation splits of the data sets in DATA.md (docs/queries.md).
BANK = 1_000  # items of the other kind
OWN = 500  # items of the kind, for the mean
POOL = 400  # captions that are looked at, at least
SHARPNESS = 3.0  # T, by the deviation of the cosines
WEIGHT = 0.75
HALF = 200  # pictures in a bank that has half of that weight: a small one knows few pictures


class Hubness:
    """How much more items are like a bank of the other kind than others of their kind are, as a
    part of a cosine."""

    def __init__(self, bank: Vectors, own: Vectors) -> None:
        """Take the bank, (n, dim), and some items, (m, dim), whose mean counts as none."""
        deviation = max(float((own @ bank.T).std()), 1e-6)
        self._sharpness = np.float32(SHARPNESS / deviation)
        self._bank = bank * self._sharpness
        self._weight = WEIGHT * len(bank) / (len(bank) + HALF)
        self._mean = float(self._like(own).mean())

    def __call__(self, rows: Vectors) -> Vectors:
        """Return what goes off the cosines of (n, dim) items, (n,)."""
        off: Vectors = np.float32(self._weight) * (self._like(rows) - self._mean)
        return off

    def _like(self, rows: Vectors) -> Vectors:
        logits = rows @ self._bank.T
        most = logits.max(1)
        likeness: Vectors = np.log(np.exp(logits - most[:, None]).mean(1)) + most
        return likeness / self._sharpness


class Hubs:
    """The hubness of each kind in a collection, worked out when it is first asked for; None where
    there are too few items to tell."""

    def __init__(self, samples: Samples | Mapping[Kind, Vectors]) -> None:
        """Take items of both kinds, (n, dim) each, that stand for all."""
        self._samples = samples
        self._made: dict[Kind, Hubness | None] = {}
        self._own: dict[Kind, tuple[Vectors, Vectors]] = {}

    def __getitem__(self, kind: Kind) -> Hubness | None:
        if kind not in self._made:
            other: Kind = "text" if kind == "image" else "image"
            bank, own = _spread(self._samples[other], BANK), _spread(self._samples[kind], OWN)
            few = min(len(bank), len(own)) < FEWEST
            self._made[kind] = None if few else Hubness(bank, own)
        return self._made[kind]

    def sample(self, kind: Kind) -> tuple[Vectors, Vectors]:
        """Return up to `OWN` items, (n, dim), and what goes off their cosines, (n,)."""
        if kind not in self._own:
            rows, hubness = _spread(self._samples[kind], OWN), self[kind]
            off = hubness(rows) if hubness else np.zeros(len(rows), np.float32)
            self._own[kind] = rows, off
        return self._own[kind]

    def off(self, kind: Kind, rows: Mapping[str, Vectors]) -> dict[str, float]:
        """Return what goes off the cosines of items, by their keys."""
        hubness = self[kind]
        if hubness is None or not rows:
            return dict.fromkeys(rows, 0.0)
        return dict(zip(rows, hubness(np.stack([*rows.values()])).tolist(), strict=True))


def _spread(rows: Vectors, most: int) -> Vectors:
    """Return at most so many of the rows, from all over them."""
    return rows[:: -(-len(rows) // most)] if len(rows) else rows


def pool_of(k: int) -> int:
    """Return how many captions with the highest cosines are looked at, for k hits."""
    return max(POOL, 4 * k)


def captions_of(
    collection: Collection, rows: Vectors, k: int, hubs: Hubs, *, where: Where | None = None
) -> list[list[Hit]]:
    """Return up to k texts for each of (n, dim) pictures, best first.

    A hit's score is the cosine, the part "vector", less its hubness, the part "hubness".

    Raises:
        BadFilter: the filter cannot be understood.
    """
    pool = k if hubs["text"] is None else pool_of(k)
    found = collection.search(rows, pool, kind="text", where=where)
    return [_ordered(collection, matches, hubs)[:k] for matches in found]


def _ordered(collection: Collection, matches: Sequence[Match], hubs: Hubs) -> list[Hit]:
    if hubs["text"] is None:
        return [Hit(n, m.item, m.score, {"vector": m.score}) for n, m in enumerate(matches, 1)]
    keys = [match.item.key for match in matches]
    off = dict.fromkeys(keys, 0.0) | hubs.off("text", rows_of(collection, keys))
    order = sorted(matches, key=lambda m: off[m.item.key] - m.score)
    return [
        Hit(
            rank, m.item, m.score - off[m.item.key],
            {"vector": m.score, "hubness": -off[m.item.key]},
        )
        for rank, m in enumerate(order, start=1)
    ]  # fmt: skip


__all__ = ["Hubness", "Hubs", "captions_of", "pool_of"]
