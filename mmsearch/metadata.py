"""What a picture's file says about it: EXIF, IPTC and XMP together."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from PIL import IptcImagePlugin

from index_store.types import MetaValue
from mmsearch.exif import as_caption, as_keywords, exif_meta, one_line, present
from mmsearch.xmp import xmp_meta

if TYPE_CHECKING:
    from PIL.Image import Exif
    from PIL.ImageFile import ImageFile

# What the file's own bytes say about what is in the picture, apart from its pixels.
FROM_FILE = (
    "taken", "offset", "camera", "lens", "focal_mm", "iso", "lat", "lon", "rating", "title",
    "caption", "keywords",
)  # fmt: skip
_TITLE, _KEYWORDS, _CAPTION = (2, 5), (2, 25), (2, 120)
_XMP_TAG = 700  # of TIFF

# What Pillow's IPTC reader raises on garbage.
_BROKEN = (ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError,
           ValueError, struct.error)  # fmt: skip


def file_meta(image: ImageFile, exif: Exif) -> dict[str, MetaValue]:
    """Return the fields of FROM_FILE that are there and valid.

    As the Metadata Working Group advises: the keywords of all three together; titles and
    captions from XMP, else IPTC, else EXIF; the rest from EXIF, else XMP.
    """
    camera, iptc, xmp = exif_meta(exif), _iptc_meta(image), xmp_meta(_packet(image))
    words = [w for meta in (xmp, iptc, camera) for w in _list(meta.get("keywords"))]
    told = {n: v for n, v in (camera | iptc | xmp).items() if n in ("title", "caption")}
    return xmp | camera | told | present({"keywords": as_keywords(words)})


def _list(value: MetaValue | None) -> list[str]:
    return value if isinstance(value, list) else []


def _packet(image: ImageFile) -> bytes:
    raw = image.info.get("xmp", b"")
    if not raw and image.format == "TIFF":
        raw = image.tag_v2.get(_XMP_TAG, b"")  # type: ignore[attr-defined]
    return raw.encode("utf-8", "replace") if isinstance(raw, str) else bytes(raw or b"")


def _iptc_meta(image: ImageFile) -> dict[str, MetaValue]:
    """Return title, caption and keywords of the IPTC block that Photoshop and others write."""
    if image.format != "TIFF" and "photoshop" not in image.info:
        return {}
    try:
        found = IptcImagePlugin.getiptcinfo(image) or {}
    except _BROKEN:
        return {}

    def texts(tag: tuple[int, int]) -> list[str]:
        values = found.get(tag) or []
        raw = [v for v in (values if isinstance(values, list) else [values]) if v]
        return [one_line(_decoded(v)) for v in raw]

    return present({
        "title": "".join(texts(_TITLE)[:1]),
        "caption": as_caption("".join(texts(_CAPTION)[:1])),
        "keywords": as_keywords(texts(_KEYWORDS)),
    })  # fmt: skip


def _decoded(raw: bytes) -> str:
    try:  # most writers use UTF-8, whether they say so or not
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
