"""Any Pillow mode to RGB in sRGB, on white, without a full-size RGB copy of a big picture."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

if TYPE_CHECKING:
    Flatten = Callable[[Image.Image], Image.Image]

# Above this a picture is reduced while it is converted, when a target is given. Below it
# the exact pixels are kept: the copy costs at most 32 MB.
REDUCE_ABOVE = 8_000_000
_STRIP_PIXELS = 1_000_000
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def to_srgb(image: Image.Image, *, target: int | None = None) -> Image.Image:
    """Return a new RGB picture in sRGB without any `info`; transparency goes onto white.

    The embedded ICC profile is honoured if it is sound and fits the picture's mode, else
    left out of account. 16-bit grey is scaled by 1/257; see `_grey_range` for the others.

    Args:
        image: loaded, any mode that Pillow decodes.
        target: a side in pixels. A picture of more than 8 megapixels is averaged over n x n
            squares, n the largest that keeps the short side at 2 * target or more.
    """
    profile = _profile(image)
    flatten = _flattener(image, keep_cmyk=profile is not None)
    factor = min(image.size) // (2 * target) if target else 1
    if factor < 2 or image.width * image.height <= REDUCE_ABOVE:
        flat = flatten(image)
    else:
        flat = _reduce_by_strips(image, factor, flatten)
    if profile is not None:
        flat = _through_profile(flat, profile)
    # A copy, as an opened file's own object would answer `getexif` with the orientation that
    # has been applied already, and whoever asks (transformers does) would turn it again.
    flat = flat.copy() if flat is image else flat
    flat.info = {}
    return flat.convert("RGB") if flat.mode != "RGB" else flat


def _reduce_by_strips(image: Image.Image, factor: int, flatten: Flatten) -> Image.Image:
    """Return flatten(image).reduce(factor), made a strip of rows at a time."""
    rows = factor * max(1, _STRIP_PIXELS // (image.width * factor))
    size = (-(-image.width // factor), -(-image.height // factor))
    whole = None
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = flatten(image.crop((0, top, image.width, bottom))).reduce(factor)
        whole = whole or Image.new(strip.mode, size)
        whole.paste(strip, (0, top // factor))
    assert whole is not None  # an image has at least one row
    return whole


def _flattener(image: Image.Image, *, keep_cmyk: bool) -> Flatten:
    """Return what makes RGB (or keeps CMYK, for its profile) of the image or of a strip of it."""
    transparent = image.info.get("transparency")
    if image.mode in _DEEP:
        low, high = _grey_range(image)
        return lambda part: _grey(part, low, high, transparent)
    if image.mode in _WITH_ALPHA or transparent is not None:
        return _on_white
    if image.mode == "CMYK" and keep_cmyk:
        return lambda part: part
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        return lambda part: _transformed(part, transform)
    return lambda part: part if part.mode == "RGB" else part.convert("RGB")


def _on_white(part: Image.Image) -> Image.Image:
    straight = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(part.mode, part.mode)
    part = part.convert(straight).convert("RGBA")
    white = Image.new("RGB", part.size, (255, 255, 255))
    white.paste(part, mask=part.getchannel("A"))
    return white


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """Return the values that become black and white.

    16-bit: 0 and 65535. 32-bit integers and floats: 0 and the first of 1 (floats only), 255
    (floats only) and 65535 that holds every finite value; else their own least and greatest.
    """
    if image.mode not in ("I", "F"):
        return 0.0, 65535.0
    values = np.asarray(image)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    least, greatest = float(finite.min()), float(finite.max())
    for white in (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,):
        if least >= 0 and greatest <= white:
            return 0.0, white
    return least, greatest


def _grey(part: Image.Image, low: float, high: float, transparent: object) -> Image.Image:
    """Return RGB: low black, high white; NaN black; the transparent value (if one) white."""
    values = np.asarray(part)
    span = (high - low) or 1.0
    scaled: npt.NDArray[np.float64] = (values.astype(np.float64) - low) * (255.0 / span)
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)
    grey = np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """Return the embedded profile if it can be read and speaks of this mode's colours."""
    data = image.info.get("icc_profile")
    if not data or image.mode == "LAB":
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        space = profile.profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError, AttributeError):
        return None
    grey = image.mode in ("1", "L", "LA", "La", *_DEEP)
    expected = "CMYK" if image.mode == "CMYK" else "GRAY" if grey else "RGB"
    return profile if space == expected else None


def _through_profile(flat: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Return the flat picture in sRGB; as it was, if its profile turns out to be broken."""
    if profile.profile.xcolor_space.strip() == "GRAY":
        flat = flat.getchannel(0)
    try:
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, flat.mode, "RGB")
        return _transformed(flat, transform)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return flat


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    moved = ImageCms.applyTransform(image, transform)
    assert moved is not None  # None is for in-place transforms alone
    return moved
