"""Vectors as places on a map."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from index_store.types import Vectors
from mmsearch.errors import MissingExtra

Places = npt.NDArray[np.float64]  # (n, 2)


def projected(vectors: Vectors, *, seed: int = 0) -> Places:
    """Return places from 0 to 1 at which neighbours stay neighbours: t-SNE.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise MissingExtra("a map of the clusters", "organise") from error
    if len(vectors) < 5:
        # Too few for neighbourhoods: side by side.
        across = np.linspace(0.1, 0.9, len(vectors))
        return np.column_stack([across, np.full(len(vectors), 0.5)])
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    # van der Maaten & Hinton 2008; unit rows, so squared distances are 2 - 2 cosines.
    places = TSNE(
        perplexity=perplexity, init="pca", random_state=seed, learning_rate="auto"
    ).fit_transform(np.asarray(vectors, np.float32))
    low, high = places.min(0), places.max(0)
    out: Places = (places - low) / np.maximum(high - low, 1e-9)
    return out


def on_a_grid(places: Places, *, spread: float = 1.35) -> tuple[npt.NDArray[np.int64], int]:
    """Return a cell (column, row) of its own for each place, and the side of the grid in cells.

    Each takes the free cell nearest to where it belongs, so that no picture hides another.

    Args:
        spread: cells a side, as a multiple of the square root of the places.
    """
    side = max(math.ceil(math.sqrt(len(places)) * spread), 1)
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    cells = np.column_stack([columns.ravel(), rows.ravel()])
    free = np.ones(len(cells), bool)
    out = np.empty((len(places), 2), np.int64)
    wanted = places * (side - 1)
    # From the middle outwards: what is at the edge has room to move away to.
    for n in np.argsort(np.sum((places - 0.5) ** 2, axis=1), kind="stable"):
        distances = np.sum((cells - wanted[n]) ** 2, axis=1)
        distances[~free] = np.inf
        best = int(np.argmin(distances))
        free[best] = False
        out[n] = cells[best]
    return out, side
