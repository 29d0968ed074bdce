"""Are two pictures the same one? Their pixels compared: whole, mirrored, and one as a crop.

Many pairs at once: an array operation on one thumbnail takes longer to call than to work out.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

Thumbnail = npt.NDArray[np.uint8]  # (height, width)
Gray = npt.NDArray[np.float32]  # (n, height, width), of one shape
Likenesses = npt.NDArray[np.float64]  # (n,)

SIDE, COARSE = 48, 24  # pixels of the longer side that are compared
# A crop's width as a part of the whole's; every second one is tried on the coarse pictures.
SCALES = tuple(1.0 - 0.04 * step for step in range(8))
SURE = 0.97  # no need to look for a better fit
_PROMISING = 0.6  # on the coarse pictures, where a crop fits between two pixels at best
_ASPECT = 1.06  # widths over heights that differ by less are of one shape
_FLAT = 0.5  # grey levels; less contrast than this is a plain picture
_AS_BRIGHT = 2.0  # grey levels between the means of plain pictures that are copies
# What is wider than this is taken out: a light sky above dark ground correlates with any other.
_BLUR = 8  # pixels, either way


def thumbnail(image: Image.Image) -> Thumbnail:
    """Return the picture in grey, its longer side `SIDE` pixels."""
    scale = SIDE / max(image.size)
    width, height = (max(round(side * scale), 8) for side in image.size)
    return np.asarray(image.convert("L").resize((width, height), Image.Resampling.BOX))


def likeness(a: Thumbnail, b: Thumbnail) -> float:
    """Return how alike two thumbnails are, up to 1, as `likenesses` does."""
    return float(likenesses(a[None], b[None], np.array([True]), np.array([SURE]))[0])


def likenesses(
    ones: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8], crops: npt.NDArray[np.bool_],
    enough: npt.NDArray[np.float64],
) -> Likenesses:  # fmt: skip
    """Return how alike the thumbnails of each pair are: the best correlation of their pixels.

    One may be the other mirrored, a crop of it (from 70 % of a side on), or both; brightness,
    contrast and colour do not count. Of plain pictures 1 if they are of one shape and equally
    bright, else 0.

    Args:
        ones: (n, height, width); `others`: as many, of one shape too, which may be another.
        crops: also look for one within the other.
        enough: do not look further from here on.
    """
    one, other = ones.astype(np.float32), others.astype(np.float32)
    plain, theirs_plain = (x.std(axis=(1, 2)) < _FLAT for x in (one, other))
    as_bright = np.abs(one.mean(axis=(1, 2)) - other.mean(axis=(1, 2))) < _AS_BRIGHT
    one, other = _detail(one), _detail(other)
    best = np.zeros(len(one))
    one_shape = max(_shape(one), _shape(other)) / min(_shape(one), _shape(other)) < _ASPECT
    if one_shape:
        square, theirs = _normal(_resized(one, 32, 32)), _normal(_resized(other, 32, 32))
        for turned in (theirs, theirs[:, :, ::-1]):
            best = np.maximum(best, np.einsum("nij,nij->n", square, turned) / (32 * 32))
    either = plain | theirs_plain
    best[either] = (plain & theirs_plain & as_bright & one_shape)[either]
    left = np.flatnonzero(crops & ~either & (best < enough))
    small, their_small = _scaled(one[left], COARSE), _scaled(other[left], COARSE)
    for turn in (slice(None), slice(None, None, -1)):
        for wholes, parts, small_wholes, small_parts in (
            (one, other[:, :, turn], small, their_small[:, :, turn]),
            (other[:, :, turn], one, their_small[:, :, turn], small),
        ):
            promising = _within(small_wholes, small_parts, SCALES[::2]) >= _PROMISING
            at = left[promising & (best[left] < enough[left])]
            if len(at):
                best[at] = np.maximum(best[at], _within(wholes[at], parts[at], SCALES))
    return best


def _within(wholes: Gray, parts: Gray, scales: tuple[float, ...]) -> Likenesses:
    """Return the best correlation of each part, at these scales, with any window of its whole."""
    best = np.zeros(len(wholes))
    sums, squares = _sums(wholes), _sums(wholes**2)
    for scale in scales:
        width = round(wholes.shape[2] * scale)
        height = round(width / _shape(parts))
        if not 8 <= height <= wholes.shape[1]:
            continue
        templates = _normal(_resized(parts, width, height))
        windows = np.lib.stride_tricks.sliding_window_view(wholes, (height, width), axis=(1, 2))
        # Normalised cross-correlation (Lewis 1995, eq. 2); the template has mean 0, so the
        # window's own mean drops out of the sum above.
        above = np.einsum("nabij,nij->nab", windows, templates) / (height * width)
        variance = _means(squares, height, width) - _means(sums, height, width) ** 2
        found = above / np.sqrt(np.maximum(variance, 1.0))
        best = np.maximum(best, found.max(axis=(1, 2)))
    return best


def _sums(images: Gray) -> npt.NDArray[np.float64]:
    """Return the sums of all that lies above and left of each corner of a pixel."""
    n, height, width = images.shape
    sums = np.zeros((n, height + 1, width + 1))
    np.cumsum(images, axis=1, out=sums[:, 1:, 1:])
    np.cumsum(sums[:, 1:, 1:], axis=2, out=sums[:, 1:, 1:])
    return sums


def _means(sums: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """Return the mean of every window of this size, from `_sums`."""
    high = sums[:, height:] - sums[:, :-height]
    means: npt.NDArray[np.float64] = (high[:, :, width:] - high[:, :, :-width]) / (height * width)
    return means


def _detail(images: Gray) -> Gray:
    """Return the pictures without what changes slowly across them."""
    _, height, width = images.shape
    return np.asarray(images - _blur(height) @ (images @ _blur(width).T), np.float32)


@cache
def _blur(side: int) -> Gray:
    """Return the matrix, (side, side), of a moving mean; what is outside is as the edge is."""
    wider = np.pad(np.eye(side), ((_BLUR, _BLUR), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wider, 2 * _BLUR + 1, axis=0)
    return np.asarray(windows.mean(axis=2), np.float32)


def _shape(images: Gray) -> float:
    _, height, width = images.shape
    return float(width / height)


def _scaled(images: Gray, side: int) -> Gray:
    scale = side / max(images.shape[1:])
    return _resized(images, *(max(round(s * scale), 8) for s in images.shape[:0:-1]))


def _resized(images: Gray, width: int, height: int) -> Gray:
    _, old_height, old_width = images.shape
    return np.asarray(_weights(old_height, height) @ (images @ _weights(old_width, width).T))


@cache
def _weights(old: int, new: int) -> Gray:
    """Return the matrix, (new, old), by which Pillow resizes a column of pixels."""
    unit = Image.fromarray(np.eye(old, dtype=np.float32))
    return np.asarray(unit.resize((old, new), Image.Resampling.BILINEAR), np.float32)


def _normal(images: Gray) -> Gray:
    """Return the pictures with mean 0 and standard deviation 1."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    spread = centred.std(axis=(1, 2), keepdims=True)
    return np.asarray(centred / np.maximum(spread, 1e-6), np.float32)
