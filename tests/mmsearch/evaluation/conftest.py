"""What the tests of the evaluation share: small vectors, a table of pairs, a bad encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store.types import Space, Vectors
from mmsearch import Encoder
from tests.mmsearch.conftest import paint


def axes(*rows: tuple[float, ...]) -> Vectors:
    return np.array(rows, np.float32)


def unit(rng: np.random.Generator, n: int, dim: int = 16) -> Vectors:
    rows = rng.standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Backwards:
    """The colour encoder with its texts the wrong way round."""

    image_size = 8
    space = Space("backwards/1", 4)

    def __init__(self, encoder: Encoder) -> None:
        self.prepare, self.encode_images = encoder.prepare, encoder.encode_images
        self._texts = encoder.encode_texts

    def encode_texts(self, texts: list[str]) -> Vectors:
        return -self._texts(texts)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four pictures with captions: two red ones of one group, a green and a blue one."""
    rows = [
        ("red.png", "red", "a red thing", "warm"),
        ("red2.png", (250, 0, 0), "A red thing.", "warm"),
        ("green.png", (0, 255, 0), "green", "cold"),
        ("blue.png", "blue", "blue", "cold"),
    ]
    for name, color, *_ in rows:
        paint(tmp_path / name, color)
    lines = ["image,caption,tone", *(f"{n},{caption},{tone}" for n, _, caption, tone in rows)]
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path
