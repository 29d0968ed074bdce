"""Small pictures inside HTML pages, which then need no other file."""

from __future__ import annotations

import base64
from io import BytesIO

from mmsearch.errors import BadPicture
from mmsearch.images import open_picture
from mmsearch.sources import source_at


def data_uri(place: str, side: int) -> str:
    """Return a JPEG as a data: URI; "" if the picture cannot be read any more.

    Args:
        place: a path, or the URI of a part of a file.
        side: pixels of the longer side, at most.
    """
    try:
        image = open_picture(source_at(place), target=side).image
    except (BadPicture, OSError, ValueError):
        return ""
    image.thumbnail((side, side))
    file = BytesIO()
    image.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
