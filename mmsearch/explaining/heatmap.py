"""Where in a picture a text fits, by any encoder: overlapping windows, each encoded alone.

Occlusion (Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2) and RISE (Petsiuk et al. 2018,
arXiv:1806.07421) hide parts of a picture and ask what is lost. Windows ask it the other way round:
what fits by itself?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.types import Array, Encoder
from mmsearch.uris import check_texts

if TYPE_CHECKING:
    from PIL.Image import Image

CELLS = 48  # of a map, along the picture's longer side
PARTS = 3  # windows along the shorter side, if they did not overlap
LONGEST = 4  # times the shorter side
SPREAD = 0.3  # of a window's side: the deviation of what it tells of the places around its middle
EVEN = 1e-6  # scores that differ by less do not differ
AT_ONCE = 16
# What says nothing of a picture. Some windows score more than others with any text at all: that
# much is taken off (as LERF does with its canonical phrases, Kerr et al. 2023, arXiv:2303.09553).
PLAIN = ("a photo", "a picture", "something", "an object", "a thing")

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Where a picture fits a text.

    score: of the whole picture, as in a search. values: (rows, columns) float32 over the whole
    picture, from 0 where it fits least to 1 where it fits best; 0 everywhere if nowhere fits
    better than elsewhere.
    """

    text: str
    score: float
    values: Array

    def peak(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return x and y of the point that fits best, in a picture of this width and height.

        Of several that fit alike, the one nearest to the centre.
        """
        rows, columns = self.values.shape
        y, x = np.nonzero(self.values == self.values.max())
        x, y = (x + 0.5) / columns, (y + 0.5) / rows
        best = int(np.argmin((x - 0.5) ** 2 + (y - 0.5) ** 2))
        return int(x[best] * size[0]), int(y[best] * size[1])


def windows(width: int, height: int) -> list[Box]:
    """Return squares of 1 / PARTS of the shorter side that cover a picture, half over half.

    Of a picture more than LONGEST times as long as it is wide they are larger and cut off, so
    that there are never many.
    """
    side = math.ceil(max(min(width, height), max(width, height) / LONGEST) / PARTS)
    wide, high = min(side, width), min(side, height)
    lefts, tops = _starts(width, wide), _starts(height, high)
    return [(x, y, x + wide, y + high) for y in tops for x in lefts]


def _starts(length: int, side: int) -> list[int]:
    """Return where pieces of a side start that cover a length, half over half."""
    count = max(2, math.ceil(2 * (length - side) / side) + 1) if side < length else 1
    return [round(x) for x in np.linspace(0, length - side, count)]


def heatmaps(encoder: Encoder, image: Image, texts: Sequence[str]) -> list[Heatmap]:
    """Return a map for each text; the picture's windows are encoded once for all of them.

    Args:
        encoder: any.
        image: RGB, upright.
        texts: each gets a map of its own.

    Raises:
        BadQuery: a text is no Unicode.
    """
    check_texts(texts)
    boxes = windows(*image.size)
    vectors = _encoded(encoder, image, [(0, 0, *image.size), *boxes])
    rows = encoder.encode_texts([*texts, *PLAIN])
    rows, plain = rows[: len(texts)], rows[len(texts) :].mean(0)
    seen = (vectors[1:] @ (rows - plain).T).astype(float)  # (windows, texts)
    x, y = _grid(image.size)
    cover = np.array([_cover(box, x, y) for box in boxes])  # (windows, rows, columns)
    # A sum, no mean: at the edges, which few windows tell of, a mean would have its extremes.
    heat = np.einsum("wt,wyx->tyx", seen - seen.mean(0), cover)
    scores = rows @ vectors[0]
    return [Heatmap(text, float(scores[n]), _stretched(heat[n])) for n, text in enumerate(texts)]


def _encoded(encoder: Encoder, image: Image, boxes: Sequence[Box]) -> Array:
    """Return (n, dim), the vectors of parts of a picture."""
    rows = []
    for start in range(0, len(boxes), AT_ONCE):
        parts = [encoder.prepare(image.crop(box)) for box in boxes[start : start + AT_ONCE]]
        rows.append(encoder.encode_images(np.stack(parts)))
    return np.concatenate(rows)


def _grid(size: tuple[int, int]) -> tuple[Array, Array]:
    """Return x and y, in pixels, of the middles of a map's cells, (rows, columns) each."""
    columns, rows = (max(1, round(CELLS * length / max(size))) for length in size)
    x = (np.arange(columns) + 0.5) * size[0] / columns
    y = (np.arange(rows) + 0.5) * size[1] / rows
    both = np.meshgrid(x, y)
    return both[0], both[1]


def _cover(box: Box, x: Array, y: Array) -> Array:
    """Return (rows, columns), how much a window tells of each cell: most in its middle."""
    left, top, right, bottom = box
    wide, high = (right - left) * SPREAD, (bottom - top) * SPREAD
    far = ((x - (left + right) / 2) / wide) ** 2 + ((y - (top + bottom) / 2) / high) ** 2
    near: Array = np.exp(-far / 2)
    return near


def _stretched(heat: Array) -> Array:
    """Return the map from 0 to 1, float32; zeros if it is even."""
    low, high = float(heat.min()), float(heat.max())
    if high - low < EVEN:
        return np.zeros(heat.shape, np.float32)
    return ((heat - low) / (high - low)).astype(np.float32)
