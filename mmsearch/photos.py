"""The free photographs that scikit-image carries: public domain or CC0, see its data/README.txt."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from mmsearch.errors import MissingExtra

# The photographs among scikit-image's files; the others are test patterns and slides.
PHOTOS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "moon.png",
    "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip


def photos_folder() -> Path:
    """Return the folder of scikit-image's pictures, without importing scikit-image.

    Raises:
        MissingExtra: it is not installed.
    """
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise MissingExtra("scikit-image's photographs", "demo")
    return Path(package.origin).parent / "data"
