"""Photographs to measure with: crops of scikit-image's, scaled up, with grain; a fixed seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch.photos import PHOTOS, photos_folder

QUALITY = 90
GRAIN = 3.0  # standard deviation in grey levels: an enlarged picture alone is too smooth


def make_pictures(folder: Path, n: int, *, width: int, height: int, seed: int = 0) -> Path:
    """Return the folder with n JPEGs, no two alike; one that is there in full is left as it is."""
    if folder.is_dir() and len(list(folder.glob("*.jpg"))) == n:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    photos = [Image.open(photos_folder() / name).convert("RGB") for name in PHOTOS]
    for number in range(n):
        photo = photos[number % len(photos)]
        scale = rng.uniform(0.5, 1.0) * min(photo.width / width, photo.height / height)
        w, h = width * scale, height * scale
        x, y = rng.uniform(0, photo.width - w), rng.uniform(0, photo.height - h)
        large = photo.resize((width, height), Image.Resampling.BICUBIC, box=(x, y, x + w, y + h))
        if rng.random() < 0.5:
            large = large.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        grain = rng.standard_normal((height, width, 1), dtype=np.float32) * GRAIN
        pixels = (np.asarray(large, np.float32) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=QUALITY)
    return folder
