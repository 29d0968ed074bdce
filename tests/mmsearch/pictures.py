"""Pictures made for the tests."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def photo(width: int, height: int) -> Image.Image:
    """Return a smooth picture without any symmetry, with some texture."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x / width, 255 * (y / height) ** 2
    blue = 127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7 + x / 31)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))
