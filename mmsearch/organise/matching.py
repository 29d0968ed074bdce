"""Are two pictures the same one? Their pixels compared: whole, mirrored, and one as a crop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Gray = npt.NDArray[np.float32]  # (height, width)

SIDE, COARSE = 48, 24  # pixels of the longer side that are compared
# A crop's width as a part of the whole's; every second one is tried on the coarse pictures.
SCALES = tuple(1.0 - 0.04 * step for step in range(8))
SURE = 0.97  # no need to look for a better fit
_PROMISING = 0.6  # on the coarse pictures, where a crop fits between two pixels at best
_ASPECT = 1.06  # widths over heights that differ by less are of one shape
_FLAT = 2.0  # grey levels; less contrast than this is a plain picture
# What is wider than this is taken out: a light sky above dark ground correlates with any other.
_BLUR = 8  # pixels, either way


def thumbnail(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return the picture in grey, its longer side `SIDE` pixels."""
    scale = SIDE / max(image.size)
    width, height = (max(round(side * scale), 8) for side in image.size)
    return np.asarray(image.convert("L").resize((width, height), Image.Resampling.BOX))


def likeness(
    a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], *, crops: bool = True, enough: float = 0.0
) -> float:
    """Return how alike two thumbnails are, up to 1: the best correlation of their pixels.

    One may be the other mirrored, a crop of it (from 70 % of a side on), or both; brightness,
    contrast and colour do not count. Of plain pictures 1 if they are equally bright, else 0.

    Args:
        crops: also look for one within the other.
        enough: do not look further from here on.
    """
    one, other = a.astype(np.float32), b.astype(np.float32)
    if min(one.std(), other.std()) < _FLAT:
        alike = max(one.std(), other.std()) < _FLAT and abs(one.mean() - other.mean()) < _FLAT
        return float(alike)
    one, other = _detail(one), _detail(other)
    enough = enough or SURE
    best = 0.0
    if max(_shape(one), _shape(other)) / min(_shape(one), _shape(other)) < _ASPECT:
        square, theirs = _normal(_resized(one, 32, 32)), _normal(_resized(other, 32, 32))
        best = max(float(np.mean(square * t)) for t in (theirs, theirs[:, ::-1]))
    if not crops or best >= enough:
        return best
    for turned in (other, other[:, ::-1]):
        for whole, part in ((one, turned), (turned, one)):
            if _within(_scaled(whole, COARSE), _scaled(part, COARSE), SCALES[::2]) < _PROMISING:
                continue
            best = max(best, _within(whole, part, SCALES))
            if best >= enough:
                return best
    return best


def _within(whole: Gray, part: Gray, scales: tuple[float, ...]) -> float:
    """Return the best correlation of `part`, at these scales, with any window of `whole`."""
    best = 0.0
    for scale in scales:
        width = round(whole.shape[1] * scale)
        height = round(width / _shape(part))
        if not 8 <= height <= whole.shape[0]:
            continue
        template = _normal(_resized(part, width, height))
        windows = np.lib.stride_tricks.sliding_window_view(whole, template.shape)
        # Normalised cross-correlation (Lewis 1995, eq. 2); the template has mean 0, so the
        # window's own mean drops out of the sum above.
        above = np.einsum("abij,ij->ab", windows, template) / template.size
        variance = _means(whole**2, template.shape) - _means(whole, template.shape) ** 2
        best = max(best, float(np.max(above / np.sqrt(np.maximum(variance, 1.0)))))
        if best >= SURE:
            break
    return best


def _means(image: Gray, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the mean of every window of this shape, by running sums."""
    sums = np.pad(image.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    h, w = shape
    means: npt.NDArray[np.float64] = (
        sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    ) / (h * w)
    return means


def _detail(image: Gray) -> Gray:
    """Return the picture without what changes slowly across it."""
    wider = np.pad(image, _BLUR, mode="edge")
    return np.asarray(image - _means(wider, (2 * _BLUR + 1, 2 * _BLUR + 1)), np.float32)


def _shape(image: Gray) -> float:
    height, width = image.shape
    return float(width / height)


def _scaled(image: Gray, side: int) -> Gray:
    scale = side / max(image.shape)
    return _resized(image, *(max(round(s * scale), 8) for s in image.shape[::-1]))


def _resized(image: Gray, width: int, height: int) -> Gray:
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32)


def _normal(image: Gray) -> Gray:
    """Return the picture with mean 0 and standard deviation 1."""
    centred = image - image.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6), np.float32)
