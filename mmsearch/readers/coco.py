"""COCO captions: a list of pictures, and a list of captions that point to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmsearch.readers.places import places
from mmsearch.readers.samples import scalars, without_splits
from mmsearch.types import Sample, Skipped
from mmsearch.uris import clean, key_of, uri_of


def read(
    path: str, data: Mapping[str, Any], *, split: str | None = None
) -> Iterator[Sample | Skipped]:
    """Yield the pictures of `data["images"]` in order, with the captions that point to them.

    Args:
        path: the file that the data came from.
        data: its content; annotations without a caption (boxes) are passed over.
        split: must be None: each COCO file is one split.

    Raises:
        BadSource: a split was asked for.
    """
    without_splits(path, split, "a COCO file")
    captions: dict[Any, list[str]] = {}
    annotations = data.get("annotations")
    for note in annotations if isinstance(annotations, list) else ():
        if isinstance(note, dict) and isinstance(note.get("caption"), str):
            picture, text = note.get("image_id"), clean(note["caption"])
            if text and isinstance(picture, (int, str)):
                captions.setdefault(picture, []).append(text)
    near = places(path)
    for n, image in enumerate(data["images"], start=1):
        name = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(name, str) or not name:
            mark = f"#image-{n}"
            yield Skipped(key_of(path) + mark, uri_of(path) + mark, f"image {n}: no file_name")
            continue
        number = image.get("id")
        texts = captions.get(number, []) if isinstance(number, (int, str)) else []
        extra = scalars(image, without=("file_name",))
        yield near.sample(name, where=f"image {n}", captions=texts, extra=extra)
