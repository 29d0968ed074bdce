"""Questions of several parts: a text, pictures, and what is not wanted, in one score.

The cosines of a text with pictures and of a picture with pictures lie in different ranges (the
modality gap of most dual encoders, Liang et al., arXiv:2203.02053). Summing vectors or cosines
lets the part of the wider range, the picture, decide alone. So each part's cosine is first
standardised over the collection's background, then weighted:

    score(x) = sum over parts of  weight * (cosine(part, x) - mean) / deviation

A linear function of x: the best rows are found by one search for the sum of weight / deviation
times the parts' vectors, exact or through an index as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from index_store.types import Vectors

BACKGROUND = 2_000  # stored vectors that stand for all of them
FEWEST = 8  # of fewer the spread says nothing: the cosines are summed as they are


@dataclass(frozen=True, slots=True)
class Background:
    """The scores that a question has with this collection whatever it asks: mean, deviation."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Blend:
    """The parts of a question as one vector to search by.

    vector: (dim,), of length 1. names, weights, rows, grounds: of each part.
    """

    vector: Vectors
    names: tuple[str, ...]
    weights: tuple[float, ...]
    rows: Vectors
    grounds: tuple[Background, ...]

    def explained(self, vectors: Vectors) -> list[Mapping[str, float]]:
        """Return, for (n, dim) stored vectors, what each part adds to the score, by its name."""
        cosines = vectors @ self.rows.T
        return [
            {
                name: weight * (float(cosine) - ground.mean) / ground.deviation
                for name, weight, cosine, ground in zip(
                    self.names, self.weights, row, self.grounds, strict=True
                )
            }
            for row in cosines
        ]


def background(row: Vectors, sample: Vectors, off: Vectors | float = 0.0) -> Background:
    """Return mean and deviation of a question's cosines with a sample of stored vectors, less
    `off`, of each of these."""
    if len(sample) < FEWEST:
        return Background(0.0, 1.0)
    scores = sample @ row - off
    deviation = float(scores.std())
    return Background(float(scores.mean()), deviation if deviation > 1e-6 else 1.0)


def blend(
    rows: Vectors, weights: Sequence[float], names: Sequence[str], sample: Vectors
) -> Blend | None:
    """Return the parts as one vector; None if they cancel out.

    Args:
        rows: (parts, dim) unit rows.
        weights: of each; negative: what it is like is not wanted.
        names: of each, all different.
        sample: (n, dim) stored vectors of the kind that is searched.
    """
    grounds = tuple(background(row, sample) for row in rows)
    scale = np.array(
        [w / g.deviation for w, g in zip(weights, grounds, strict=True)], dtype=np.float32
    )
    vector = scale @ rows
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        return None
    return Blend(vector / np.float32(length), tuple(names), tuple(weights), rows, grounds)
