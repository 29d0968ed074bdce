"""A JSON data set: Karpathy splits, COCO captions, or a plain list of records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmsearch.errors import BadSource
from mmsearch.readers import coco, karpathy, table
from mmsearch.readers.samples import reason_of
from mmsearch.types import Sample, Skipped
from mmsearch.uris import printable

EXPECTED = (
    '{"images": [{"filename": ..., "split": ..., "sentences": [{"raw": ...}]}]} (Karpathy), '
    '{"images": [{"id": ..., "file_name": ...}], "annotations": [{"image_id": ..., '
    '"caption": ...}]} (COCO), or [{"image": ..., "caption": ...}]'
)


def read_dataset(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures of a JSON data set; what it is shows in its structure.

    The file is held in memory. A list of records is read like the rows of a table.

    Args:
        path: the JSON file; its pictures are looked for near it (`places` says where).
        split: keep only these ("test", "train,restval"); COCO files have none.

    Raises:
        BadSource: it cannot be read, is no JSON, has another structure, or no such split.
    """
    data = _load(path)
    if isinstance(data, list) and data:
        records = (
            (n, r if isinstance(r, dict) else "not an object") for n, r in enumerate(data, 1)
        )
        yield from table.samples(path, records, split=split)
        return
    images = data.get("images") if isinstance(data, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    if not isinstance(first, dict) or not first.keys() & {"filename", "file_name"}:
        raise BadSource(f"{printable(path)} is no data set that is known here; expected {EXPECTED}")
    kind = karpathy if "filename" in first else coco
    yield from kind.read(path, data, split=split)


def _load(path: str) -> Any:
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        hint = "; name it .jsonl if it has one object a line" if "Extra data" in str(error) else ""
        raise BadSource(f"{printable(path)} is no JSON: {error}{hint}") from error
