"""How well two encoders agree: the cosine between what they give for the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from index_store.types import Vectors
from mmsearch.errors import ExportFailed
from mmsearch.models.probes import Probes
from mmsearch.pipeline import batched
from mmsearch.types import Encoder

BATCH = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """The least and the mean cosine over n inputs."""

    n: int
    least: float
    mean: float

    def as_dict(self) -> dict[str, Any]:
        """Return it for a JSON file, to 6 digits."""
        return {"n": self.n, "least": round(self.least, 6), "mean": round(self.mean, 6)}


def compare(source: Encoder, other: Encoder, probes: Probes) -> tuple[Agreement, Agreement]:
    """Return the agreement on pictures and that on texts.

    Each encoder prepares the pictures itself. Texts go to `source` all at once, to `other` all
    at once and one by one: padding must not change a vector.

    Raises:
        ExportFailed: not one of the pictures can be read.
        ModelUnavailable: an encoder gives no usable vector.
    """
    pictures: list[Vectors] = []
    for batch in batched(probes.pictures(), BATCH):
        a, b = (
            encoder.encode_images(np.stack([encoder.prepare(image) for image in batch]))
            for encoder in (source, other)
        )
        pictures.append(_cosines(a, b))
    if not pictures:
        raise ExportFailed(f"none of the pictures to check with can be read ({probes.source})")
    texts = list(probes.texts)
    expected = source.encode_texts(texts)
    alone = np.concatenate([other.encode_texts([text]) for text in texts])
    together = _cosines(expected, other.encode_texts(texts))
    return _agreement(np.concatenate(pictures)), _agreement(
        np.minimum(together, _cosines(expected, alone))
    )


def _cosines(a: Vectors, b: Vectors) -> Vectors:
    if a.shape != b.shape:
        raise ExportFailed(f"vectors of {a.shape[1]} dimensions became {b.shape[1]}")
    found: Vectors = (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
    return found


def _agreement(cosines: Vectors) -> Agreement:
    return Agreement(len(cosines), float(cosines.min()), float(cosines.mean()))
