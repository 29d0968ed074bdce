"""What a picture's EXIF says: its orientation, when, how, with what and where it was taken."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from index_store.types import MetaValue

if TYPE_CHECKING:
    from PIL.Image import Exif

_ORIENTATION, _MAKE, _MODEL, _MODIFIED = 0x0112, 0x010F, 0x0110, 0x0132
_DESCRIPTION, _RATING = 0x010E, 0x4746
_XP_TITLE, _XP_KEYWORDS = 0x9C9B, 0x9C9E  # what Windows' Explorer writes, in UTF-16
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_TAKEN, _DIGITISED, _LENS, _FOCAL, _ISO = 0x9003, 0x9004, 0xA434, 0x920A, 0x8827
_OFFSET, _OFFSET_TAKEN, _OFFSET_DIGITISED = 0x9010, 0x9011, 0x9012
_LAT_REF, _LAT, _LON_REF, _LON = 1, 2, 3, 4
_LONGEST_TEXT, _LONGEST_CAPTION = 100, 2_000  # characters
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ZONE = re.compile(r"[+-](0\d|1[0-4]):[0-5]\d")
# What cameras and editors write into the description of every picture.
_NO_CAPTION = re.compile(
    r".*digital camera|sony dsc|dcim.*|exif.jpeg.picture|untitled|default|created with.*|"
    r"software:.*|.{0,2}",
    re.IGNORECASE,
)

# What Pillow's EXIF reader and the arithmetic on its values raise on garbage.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)


def orientation(exif: Exif) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) when it is absent or out of range."""
    value = exif.get(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def exif_meta(exif: Exif) -> dict[str, MetaValue]:
    """Return what is valid of the fields below. Garbage is left out, in silence.

    taken: ISO 8601 without a zone, the camera's local time to the second; when the picture
    was taken, else digitised, else the file's date. offset: that time's distance from UTC,
    "+02:00". camera, lens; focal_mm, iso; rating, 1 to 5; caption, title; keywords, a list.
    lat, lon: degrees, north and east positive, both or neither; a position without its N/S
    and E/W letters is left out, and so is 0, 0, which means a receiver without a fix.
    """
    detail, gps = _directory(exif, _EXIF_IFD), _directory(exif, _GPS_IFD)
    found: dict[str, MetaValue | None] = {
        **_date(exif, detail),
        "camera": camera_name(_text(exif.get(_MAKE)), _text(exif.get(_MODEL))),
        "lens": _text(detail.get(_LENS)),
        "focal_mm": positive(detail.get(_FOCAL), 10_000),
        "iso": _iso(detail.get(_ISO)),
        "rating": stars(exif.get(_RATING)),
        "title": _text(_utf16(exif.get(_XP_TITLE)), _LONGEST_CAPTION),
        "caption": as_caption(_text(exif.get(_DESCRIPTION), _LONGEST_CAPTION)),
        "keywords": as_keywords(_utf16(exif.get(_XP_KEYWORDS)).split(";")),
    }
    lat = _degrees(gps.get(_LAT), gps.get(_LAT_REF), "NS", 90)
    lon = _degrees(gps.get(_LON), gps.get(_LON_REF), "EW", 180)
    return present(found) | position(lat, lon)


def present(found: Mapping[str, MetaValue | None]) -> dict[str, MetaValue]:
    """Return the fields that have a value."""
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def position(lat: float | None, lon: float | None) -> dict[str, MetaValue]:
    """Return lat and lon if both are there and are a place that a receiver found."""
    if lat is None or lon is None or (lat, lon) == (0, 0):
        return {}
    return {"lat": lat, "lon": lon}


def positive(value: Any, limit: float) -> float | None:
    """Return a number above 0 and up to `limit`, to two places; None if it is none."""
    try:
        number = float(value)
    except _BROKEN:
        return None
    return round(number, 2) if math.isfinite(number) and 0 < number <= limit else None


def stars(value: Any) -> int | None:
    """Return a rating of 1 to 5; None for "not rated" (0), "rejected" (-1) and garbage."""
    try:
        rating = int(float(value))
    except _BROKEN:
        return None
    return rating if 1 <= rating <= 5 else None


def as_caption(text: str) -> str:
    """Return a description; "" for what cameras write there by themselves."""
    return "" if _NO_CAPTION.fullmatch(text) else text


def as_keywords(words: Iterable[str]) -> list[str]:
    """Return up to 200 keywords, each on one line, in NFC, none twice in other capitals."""
    first: dict[str, str] = {}
    for word in words:
        line = unicodedata.normalize("NFC", one_line(word, _LONGEST_TEXT))
        if line:
            first.setdefault(line.casefold(), line)
    return list(first.values())[:200]


def one_line(text: str, longest: int = 2_000) -> str:
    """Return a text on one line, printable, at most `longest` characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:longest]


def _directory(exif: Exif, tag: int) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(tag)
    except _BROKEN:
        return {}


def _text(value: object, longest: int = _LONGEST_TEXT) -> str:
    """Return a tag's text on one line, printable; "" if it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    with suppress(UnicodeError):  # Pillow reads as Latin-1 what mostly is UTF-8
        value = value.encode("latin-1").decode("utf-8")
    return one_line(value.split("\0")[0], longest)


def _utf16(value: object) -> str:
    if isinstance(value, tuple):  # some files give the bytes as numbers
        value = bytes(v & 0xFF for v in value if isinstance(v, int))
    return value.decode("utf-16-le", "replace").strip("\0") if isinstance(value, bytes) else ""


def camera_name(make: str, model: str) -> str:
    """Return make and model; many models repeat the make: "Canon" and "Canon EOS 5D"."""
    if model.casefold().startswith(make.casefold()):
        return model
    return f"{make} {model}".strip()


def _iso(value: object) -> int | None:
    number = positive(value[0] if isinstance(value, tuple) and value else value, 10_000_000)
    # 65535 says that the tag is too small for the number.
    return int(number) if number is not None and number not in (0xFFFF, 0) else None


def _date(exif: Exif, detail: Mapping[int, Any]) -> dict[str, MetaValue]:
    dates = (
        (detail.get(_TAKEN), detail.get(_OFFSET_TAKEN)),
        (detail.get(_DIGITISED), detail.get(_OFFSET_DIGITISED)),
        (exif.get(_MODIFIED), detail.get(_OFFSET)),
    )
    for date, zone in dates:
        if taken := _iso_date(date):
            zone = _text(zone)
            return present({"taken": taken, "offset": zone if _ZONE.fullmatch(zone) else ""})
    return {}


def _iso_date(value: object) -> str | None:
    match = _DATE.match(_text(value))
    if match is None:
        return None
    try:
        return datetime(*map(int, match.groups())).isoformat()  # type: ignore[arg-type]
    except ValueError:  # cameras without a set clock write 0000:00:00 00:00:00
        return None


def _degrees(value: object, reference: object, signs: str, limit: float) -> float | None:
    """Return degrees from (degrees, minutes, seconds), to 1e-7 (1 cm); None if not valid."""
    letter = _text(reference).upper()
    try:
        degrees, minutes, seconds = map(float, value)  # type: ignore[call-overload]
        angle: float = degrees + minutes / 60 + seconds / 3600
    except _BROKEN:
        return None
    if letter not in tuple(signs) or not math.isfinite(angle) or not 0 <= angle <= limit:
        return None
    return round(-angle if letter == signs[1] else angle, 7)
