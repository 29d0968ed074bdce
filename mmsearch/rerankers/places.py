"""Where a picture is that a re-ranker looks at, and what it is known again by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.region_files import picture_name
from mmsearch.types import Item, Query
from mmsearch.uris import path_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture is.

    source: a path, a `file:` URI, or the picture itself. name: its file's without ending, "" if it
    has none. key: to know it again by in this process; None: not to be kept there. size: width and
    height, if they are known. content: the hash of the bytes that were indexed, "" if it is not
    known.
    """

    source: Any
    name: str
    key: tuple[str, str] | None = None
    size: tuple[int, int] | None = None
    content: str = ""


def place_of_item(item: Item) -> Place:
    """Return where a stored picture is."""
    width, height = item.meta.get("width"), item.meta.get("height")
    size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    return Place(item.uri, picture_name(item), (item.uri, item.stamp), size, item.content)


def place_of_query(query: Query) -> Place:
    """Return where a query's picture is."""
    if isinstance(query.image, str | os.PathLike):
        path = os.fspath(query.image)
        return Place(path, Path(file_at(path)).stem)
    return Place(query.image, "")


def file_at(source: str) -> str:
    """Return the path of the file that a path or a `file:` URI names.

    Raises:
        ValueError: the URI names none.
    """
    return path_of(source) if source.startswith("file:") else source
