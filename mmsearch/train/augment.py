"""Random views of a picture, the same for the same numbers: no hidden state, so a resumed run,
more workers or more processes see the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_SIDES = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True, slots=True)
class Augment:
    """How a picture is changed for training.

    crop_scale: smallest share of the area that a random crop keeps; 1 keeps all.
    flip: "on", "off", or "auto": not where a caption names left or right.
    jitter: brightness, contrast and saturation change by up to this share. Hue does not:
    captions name colours.
    """

    crop_scale: float = 0.6
    flip: str = "auto"
    jitter: float = 0.1

    def __call__(
        self, image: Image.Image, size: int, captions: Sequence[str], rng: np.random.Generator
    ) -> Image.Image:
        """Return a size x size view of an RGB picture."""
        box = crop_box(image.size, self.crop_scale, rng)
        mirrored = rng.random() < 0.5
        changes = 1 + self.jitter * rng.uniform(-1, 1, 3)
        view = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        if mirrored and self._may_flip(captions):
            view = ImageOps.mirror(view)
        if self.jitter:
            for enhance, change in zip(
                (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color),
                changes,
                strict=True,
            ):
                view = enhance(view).enhance(float(change))
        return view

    def _may_flip(self, captions: Sequence[str]) -> bool:
        if self.flip != "auto":
            return self.flip == "on"
        return not any(_SIDES.search(caption) for caption in captions)


def crop_box(
    size: tuple[int, int], scale: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a random crop: Inception's, arXiv:1409.4842 section 6.

    Of `scale` to 1 of the area, 3:4 to 4:3; squeezed into the picture where it would not fit.
    """
    width, height = size
    area = width * height * rng.uniform(scale, 1.0)
    ratio = np.exp(rng.uniform(np.log(_RATIO[0]), np.log(_RATIO[1])))
    w = min(width, float(np.sqrt(area * ratio)))
    h = min(height, float(np.sqrt(area / ratio)))
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return left, top, left + w, top + h
