"""Visual Genome: pictures whose regions are described, a phrase and a box each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import BadSource
from mmsearch.readers.json_stream import json_stream
from mmsearch.readers.places import places
from mmsearch.readers.samples import distinct, reason_of, scalars, without_splits
from mmsearch.types import Sample, Skipped
from mmsearch.uris import clean, key_of, printable, uri_of

IMAGE_DATA = "image_data.json"  # beside it: what is known of each picture


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture and what is said of it.

    x, y: the upper left corner; with width and height in pixels of the original picture.
    """

    phrase: str
    x: float
    y: float
    width: float
    height: float


def read(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures of region_descriptions.json, the phrases of their regions as captions.

    A phrase that a picture has twice, capitals aside, counts once. The file is read picture by
    picture; image_data.json beside it, where there is one, is held whole (17 MB on the disk)
    and gives the meta url, coco_id and flickr_id.

    Args:
        path: region_descriptions.json. The pictures are ID.jpg where `places` says, such as in
            VG_100K and VG_100K_2.
        split: must be None: Visual Genome has none.

    Raises:
        BadSource: a split was asked for; a file cannot be read or is no JSON.
    """
    without_splits(path, split, "Visual Genome")
    near, known = places(path), _image_data(path)
    for n, number, regions in _pictures(path):
        if number is None:
            mark = f"#image-{n}"
            yield Skipped(key_of(path) + mark, uri_of(path) + mark, f"image {n}: no id")
            continue
        captions = distinct(r.phrase for r in regions)
        extra = {"id": number, **known.get(number, {})}
        yield near.sample(f"{number}.jpg", where=f"image {n}", captions=captions, extra=extra)


def read_regions(path: str) -> Iterator[tuple[int, tuple[Region, ...]]]:
    """Yield the id of each picture of region_descriptions.json, and its regions with their boxes.

    Regions that lack a phrase or a side, and entries without an id, are left out.

    Raises:
        BadSource: the file cannot be read or is no JSON.
    """
    for _, number, regions in _pictures(path):
        if number is not None:
            yield number, regions


def is_regions(first: object) -> bool:
    """Return whether a list of which this is the first element is region_descriptions.json."""
    return isinstance(first, dict) and isinstance(first.get("regions"), list)


def _pictures(path: str) -> Iterator[tuple[int, int | None, tuple[Region, ...]]]:
    """Yield the number of each entry as it stands, its id and its regions."""
    with json_stream(path) as stream:
        for n, entry in enumerate(stream.elements(), start=1):
            fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
            found = fields.get("regions")
            regions = [_region(r) for r in (found if isinstance(found, list) else ())]
            yield n, _id(fields), tuple(r for r in regions if r)


def _region(fields: Any) -> Region | None:
    if not isinstance(fields, dict) or not isinstance(fields.get("phrase"), str):
        return None
    box = [fields.get(side) for side in ("x", "y", "width", "height")]
    phrase = clean(fields["phrase"])
    if not phrase or not all(isinstance(side, (int, float)) for side in box):
        return None
    return Region(phrase, *box)  # type: ignore[arg-type]


def _id(fields: Mapping[str, Any]) -> int | None:
    """Return a picture's id: the releases call it "id" or "image_id"."""
    found = (fields.get("id"), fields.get("image_id"))
    return next((i for i in found if isinstance(i, int)), None)


def _image_data(path: str) -> dict[int, dict[str, Any]]:
    """Return what image_data.json says, by the picture's id; nothing if it isn't there."""
    beside = Path(path).resolve().parent / IMAGE_DATA
    try:
        entries = json.loads(beside.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadSource(f"{printable(str(beside))} cannot be read: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise BadSource(f"{printable(str(beside))} is no JSON: {error}") from error
    known = {}
    for entry in entries if isinstance(entries, list) else ():
        number = _id(entry) if isinstance(entry, dict) else None
        if number is not None:
            known[number] = scalars(entry, without=("id", "image_id"))
    return known
