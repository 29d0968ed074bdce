"""What an XMP packet says about its picture: inside the file, or in a `.xmp` file beside it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, fromstring

from index_store.types import MetaValue
from mmsearch.exif import (
    as_caption,
    as_keywords,
    camera_name,
    one_line,
    position,
    positive,
    present,
    stars,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LARGEST = 8 << 20  # bytes; a history of edits can take megabytes

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_EXIF_EX = "http://cipa.jp/exif/1.0/"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_AUX = "http://ns.adobe.com/exif/1.0/aux/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
_DIGIKAM = "http://www.digikam.org/ns/1.0/"

Properties = Mapping[str, list[str]]


def sidecar_meta(path: str) -> dict[str, MetaValue]:
    """Return what a `.xmp` file says, as `xmp_meta`; nothing if it is larger than LARGEST.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        raw = file.read(LARGEST + 1)
    return xmp_meta(raw)


def xmp_meta(raw: bytes) -> dict[str, MetaValue]:
    """Return what is valid of: taken, offset, camera, lens, focal_mm, iso, lat, lon, rating,
    title, caption, keywords. They mean what they do in `exif_meta`. Garbage is left out.

    The parts of a hierarchical keyword ("Places|Greece") are keywords.
    """
    found = _properties(raw)

    def first(*names: str) -> str:
        return next((one_line(v) for n in names for v in found.get(n, []) if v.strip()), "")

    paths = [
        *found.get(f"{{{_LIGHTROOM}}}hierarchicalSubject", []),
        *(t.replace("/", "|") for t in found.get(f"{{{_DIGIKAM}}}TagsList", [])),
    ]
    meta: dict[str, MetaValue | None] = {
        **_date(first(
            f"{{{_EXIF}}}DateTimeOriginal", f"{{{_PHOTOSHOP}}}DateCreated", f"{{{_XMP}}}CreateDate"
        )),
        "camera": camera_name(first(f"{{{_TIFF}}}Make"), first(f"{{{_TIFF}}}Model")),
        "lens": first(f"{{{_EXIF_EX}}}LensModel", f"{{{_AUX}}}Lens"),
        "focal_mm": positive(_fraction(first(f"{{{_EXIF}}}FocalLength")), 10_000),
        "iso": _integer(first(
            f"{{{_EXIF_EX}}}PhotographicSensitivity", f"{{{_EXIF}}}ISOSpeedRatings"
        )),
        "rating": stars(first(f"{{{_XMP}}}Rating")),
        "title": first(f"{{{_DC}}}title"),
        "caption": as_caption(first(f"{{{_DC}}}description")),
        "keywords": as_keywords(
            [*found.get(f"{{{_DC}}}subject", []), *(p for path in paths for p in path.split("|"))]
        ),
    }  # fmt: skip
    lat = _degrees(first(f"{{{_EXIF}}}GPSLatitude"), "NS", 90)
    lon = _degrees(first(f"{{{_EXIF}}}GPSLongitude"), "EW", 180)
    return present(meta) | position(lat, lon)


def _properties(raw: bytes) -> Properties:
    """Return the values of each property by its name, "{namespace}name"."""
    if not raw or len(raw) > LARGEST:
        return {}
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = raw.decode("utf-16" if utf16 else "utf-8-sig", "replace").strip("\0 \r\n\t")
    # XMP has no document type. Without one there are no entities: no XML bomb, no file read.
    # As text it is what the parser sees, whatever encoding it claims.
    if "<!DOCTYPE" in text:
        return {}
    try:
        root = fromstring(text)
    except (ParseError, ValueError):
        return {}
    found: dict[str, list[str]] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        for name, value in description.attrib.items():
            found.setdefault(name, []).append(value)
        for child in description:
            found.setdefault(child.tag, []).extend(_values(child))
    return found


def _values(element: Element) -> Iterator[str]:
    """Yield a property's text, or its list's texts, the default language first."""
    entries = list(element.iter(f"{{{_RDF}}}li"))
    language = "{http://www.w3.org/XML/1998/namespace}lang"
    entries.sort(key=lambda e: e.get(language, "x-default") != "x-default")
    for entry in entries or [element]:
        yield entry.text or ""


def _date(text: str) -> dict[str, MetaValue]:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return {}
    taken = date.replace(tzinfo=None, microsecond=0).isoformat()
    meta: dict[str, MetaValue] = {"taken": taken if "T" in text else taken[:10]}
    return meta if date.tzinfo is None else meta | {"offset": date.isoformat()[-6:]}


def _fraction(text: str) -> float | None:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _integer(text: str) -> int | None:
    number = positive(text, 10_000_000)
    return int(number) if number is not None and number >= 1 else None


def _degrees(text: str, signs: str, limit: float) -> float | None:
    """Return degrees from "48,51.4933N" or "48,51,29.6N", to 1e-7; None if not valid."""
    letter = text[-1:].upper()
    try:
        degrees, minutes, seconds = [*map(float, text[:-1].split(",")), 0.0, 0.0][:3]
    except ValueError:
        return None
    angle = degrees + minutes / 60 + seconds / 3600
    if letter not in tuple(signs) or not 0 <= angle <= limit:  # NaN is neither
        return None
    return round(-angle if letter == signs[1] else angle, 7)
