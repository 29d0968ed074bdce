"""The hand-checkable encoder: a picture is its mean colour, a text the colours that it names.

For tests and for the examples in the docs: no files, no network, no model, and every score can
be worked out with a pencil. Its axes are red, green, blue and light's absence ("dark").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from index_store.types import Space, Vectors
from mmsearch.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders import Towers

# The CSS colours where CSS has the word ("green" is the pure one, as a picture's would be).
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "gray": (128, 128, 128),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
}
# Half light, half dark, no hue: what a text gets that names no colour.
NEUTRAL = (0.5, 0.5, 0.5, 0.5)


class ColorEncoder:
    """Colours as unit vectors of (red, green, blue, dark), 4-d.

    A colour (r, g, b) in [0, 1] has dark = 1 - max(r, g, b), so that black is (0, 0, 0, 1) and
    not a zero vector, and pure red is (1, 0, 0, 0). Cosines: red-blue 0, red-yellow 0.71,
    white-grey 0.87, black-white 0.
    """

    space = Space(name="color/1", dim=4)
    image_size = 8

    def prepare(self, image: Image) -> Array:
        """Return (3,) float32: the mean red, green and blue over all pixels, in [0, 1]."""
        rgb = np.asarray(image.convert("RGB"), dtype=np.float32)  # (height, width, 3)
        mean: Array = rgb.reshape(-1, 3).mean(axis=0, dtype=np.float64) / 255
        return mean.astype(np.float32)

    def encode_images(self, batch: Array) -> Vectors:
        """Return (n, 4) unit rows for (n, 3) mean colours."""
        return _directions(np.asarray(batch, dtype=np.float32).reshape(-1, 3))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, 4) unit rows: the sum of the colours that each text names, in any case.

        A colour named twice counts twice. A text that names none gets the neutral direction.
        """
        rows = np.empty((len(texts), 4), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            named = [COLORS[w] for w in re.findall(r"[a-z]+", text.lower()) if w in COLORS]
            row[:] = _directions(np.array(named) / 255).sum(axis=0) if named else NEUTRAL
        return _unit(rows)


def open_color(
    argument: str = "", *, threads: int | None, device: str | None, towers: Towers
) -> ColorEncoder:
    """Return a ColorEncoder; there is nothing to choose."""
    del argument, threads, device, towers
    return ColorEncoder()


def _directions(rgb: Array) -> Vectors:
    """Return (n, 4) unit rows for (n, 3) colours in [0, 1]."""
    return _unit(np.column_stack([rgb, 1 - rgb.max(axis=1, initial=0)]).astype(np.float32))


def _unit(rows: Vectors) -> Vectors:
    # No zero rows: a colour's largest component and its dark sum to one.
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
