"""From a model's raw output to unit rows; one place, so that every back end refuses the same."""

from __future__ import annotations

import numpy as np

from index_store.types import Vectors
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array


def unit_rows(raw: Array, *, dim: int, model: str) -> Vectors:
    """Return (n, dim) float32 rows of unit length.

    Args:
        raw: (n, dim), any floating type.
        dim: what the model's config promises.
        model: the name that the message shows.

    Raises:
        ModelUnavailable: the output has another shape, holds NaN or infinity, or a row of zeros.
    """
    rows = np.asarray(raw, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != dim:
        raise ModelUnavailable(
            f"model {model} gives vectors of shape {rows.shape}, but its config says {dim} "
            "dimensions; its files do not belong together"
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    # NaN and infinity show in the norm; so does a zero row.
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        bad = int(np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))[0])
        raise ModelUnavailable(
            f"model {model} gave no usable vector for input {bad} of its batch (NaN, infinite or "
            "zero); its weights are damaged, or overflow in half precision: try --device cpu"
        )
    unit: Vectors = rows / norms
    return unit
