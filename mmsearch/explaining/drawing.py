"""A heat-map drawn over its picture."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from mmsearch.explaining.heatmap import Heatmap
from mmsearch.types import Array

# From cold to hot: dark blue, violet, orange, yellow. Told apart in grey, too: each is lighter.
_STOPS = np.array([(20, 16, 70), (130, 30, 120), (230, 95, 50), (255, 225, 90)], np.float32)
_STRONGEST = 0.65  # of the colour beside the picture, where it is hottest
_FADED = 0.35  # of the light that is left where it is coldest


def overlay(image: Image.Image, heatmap: Heatmap, *, side: int) -> Image.Image:
    """Return the picture, its longer side `side` pixels at most, dark where it is cold and
    coloured where it is hot."""
    shown = image.copy()
    shown.thumbnail((side, side))
    heat = scaled(heatmap.values, shown.size)[..., None]  # (height, width, 1)
    pixels = np.asarray(shown, np.float32) * (_FADED + (1 - _FADED) * heat)
    share = _STRONGEST * heat**2
    mixed = pixels * (1 - share) + colors(heat[..., 0]) * share
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def scaled(values: Array, size: tuple[int, int]) -> Array:
    """Return (height, width) float32 in [0, 1] for a map of any size. size: width, height."""
    drawn = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(drawn).clip(0, 1)


def colors(heat: Array) -> Array:
    """Return (..., 3) float32, red, green and blue from 0 to 255, for heat from 0 to 1."""
    at = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(heat, at, stop) for stop in _STOPS.T], -1).astype(np.float32)


def jpeg_uri(image: Image.Image) -> str:
    """Return a picture as a data: URI."""
    file = BytesIO()
    image.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
