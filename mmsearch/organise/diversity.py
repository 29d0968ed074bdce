"""Hits that differ from one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from index_store import Collection
from index_store.types import Vectors
from mmsearch.types import Hit

POOL = 5  # candidates for each hit wanted
_BLOCK = 256  # rows


def diversified(collection: Collection, hits: Sequence[Hit], k: int, weight: float) -> list[Hit]:
    """Return k of the hits that are good and unlike one another, ranked anew.

    Scores stay. A hit whose item was deleted meanwhile is left out.

    Args:
        hits: the candidates, best first; `POOL` times k or so.
        weight: 0 (the score alone counts) to 1 (only what differs from the hits before).
    """
    there = {item.key for item in collection.get([h.item.key for h in hits])}
    hits = [h for h in hits if h.item.key in there]
    if not hits:
        return []
    vectors = collection.vectors([h.item.key for h in hits])
    chosen = mmr(np.array([h.score for h in hits]), vectors, k, weight)
    return [replace(hits[n], rank=rank) for rank, n in enumerate(chosen, start=1)]


def mmr(scores: npt.NDArray[np.floating], vectors: Vectors, k: int, weight: float) -> list[int]:
    """Return the numbers of up to k candidates, in the order in which they are chosen.

    Args:
        scores: (n,), higher is better.
        vectors: (n, dim) unit rows.
        weight: of being unlike what is chosen already, 0 to 1.
    """
    # Maximal marginal relevance (Carbonell & Goldstein 1998): argmax of
    # lambda * Sim1(d, q) - (1 - lambda) * max over chosen of Sim2(d, c); weight = 1 - lambda.
    # Both similarities are brought to the range 0 to 1 of these candidates: text and picture
    # vectors lie far apart, so a query's cosines are much smaller than those between pictures.
    relevance = _unit_range(scores)
    low, high = _extremes(vectors)
    left = np.ones(len(scores), bool)
    nearest = np.zeros(len(scores))
    chosen: list[int] = []
    while left.any() and len(chosen) < k:
        gain = (1 - weight) * relevance - weight * nearest
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        chosen.append(best)
        left[best] = False
        # A row when it is wanted: all of them would be 10 GB for 50,000 candidates.
        alike = (vectors @ vectors[best] - low) / max(high - low, 1e-9)
        nearest = np.maximum(nearest, alike)
    return chosen


def _extremes(vectors: Vectors) -> tuple[float, float]:
    """Return the least and the greatest inner product of two of the rows."""
    blocks = (vectors[n : n + _BLOCK] @ vectors.T for n in range(0, len(vectors), _BLOCK))
    edges = np.array([(block.min(), block.max()) for block in blocks])
    return float(edges[:, 0].min()), float(edges[:, 1].max())


def _unit_range(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.ones_like(values)
