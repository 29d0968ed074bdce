"""What a picture's EXIF says: its orientation, when, with what and where it was taken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from index_store.types import MetaValue

if TYPE_CHECKING:
    from PIL.Image import Exif

_ORIENTATION, _MAKE, _MODEL, _MODIFIED = 0x0112, 0x010F, 0x0110, 0x0132
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_TAKEN, _DIGITISED, _LENS = 0x9003, 0x9004, 0xA434
_LAT_REF, _LAT, _LON_REF, _LON = 1, 2, 3, 4
_LONGEST_TEXT = 100
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")

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
    """Return what is valid of: taken, camera, lens, lat, lon. Garbage is left out, in silence.

    taken: ISO 8601 without a zone, the camera's local time to the second; when the picture
    was taken, else digitised, else the file's date. lat, lon: degrees, north and east
    positive, both or neither; a position without its N/S and E/W letters is left out.
    """
    detail, gps = _directory(exif, _EXIF_IFD), _directory(exif, _GPS_IFD)
    dates = (detail.get(_TAKEN), detail.get(_DIGITISED), exif.get(_MODIFIED))
    found: dict[str, MetaValue | None] = {
        "taken": next(filter(None, map(_iso_date, dates)), None),
        "camera": _camera(_text(exif.get(_MAKE)), _text(exif.get(_MODEL))),
        "lens": _text(detail.get(_LENS)),
    }
    lat = _degrees(gps.get(_LAT), gps.get(_LAT_REF), "NS", 90)
    lon = _degrees(gps.get(_LON), gps.get(_LON_REF), "EW", 180)
    if lat is not None and lon is not None:
        found |= {"lat": lat, "lon": lon}
    return {name: value for name, value in found.items() if value not in (None, "")}


def _directory(exif: Exif, tag: int) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(tag)
    except _BROKEN:
        return {}


def _text(value: object) -> str:
    """Return a tag's text on one line, printable, at most 100 characters; "" if it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    value = value.split("\0")[0]
    printable = "".join(letter if letter.isprintable() else " " for letter in value)
    return " ".join(printable.split())[:_LONGEST_TEXT]


def _camera(make: str, model: str) -> str:
    # Many models repeat the make: "Canon" and "Canon EOS 5D".
    if model.casefold().startswith(make.casefold()):
        return model
    return f"{make} {model}".strip()


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
