"""Text in pictures, read and stored in their meta as `ocr`, where search by words finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from index_store import Collection, Compare, Item, Where
from index_store.where import AllOf, Exists, Not
from mmsearch.errors import BadPicture, MissingExtra
from mmsearch.pipeline import batched, map_ahead
from mmsearch.sources import open_source
from mmsearch.types import Array, Skipped

BATCH = 16  # pictures a transaction
SIDE = 960  # pixels of the shorter side that a picture is opened with at most twice of
SURE = 0.6  # of a line of text, as the engine judges it; below it is mostly noise
LONGEST = 10_000  # characters of a picture's text


@dataclass(slots=True)
class OcrReport:
    """What has been done so far. texts: pictures with a text among those read."""

    read: int = 0
    texts: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def read_texts(
    collection: Collection, *, where: Where | None = None, again: bool = False,
    threads: int | None = None, progress: Callable[[OcrReport, int], None] | None = None,
) -> OcrReport:  # fmt: skip
    """Read the text in pictures and store it; return what was done.

    Pictures that were read before are left out, also those without text; every 16 pictures are
    committed, so it goes on where it was stopped.

    Args:
        where: only pictures that pass.
        again: read those too that were read before.
        threads: of the engine.
        progress: called after every commit, with the number of pictures to read in all.

    Raises:
        MissingExtra: the engine is not installed.
        BadFilter: `where` cannot be understood.
        StoreFull, WriteFailed, StoreReadOnly: what was stored before is kept.
    """
    engine = _engine(threads)
    condition: Where = Compare("kind", "=", "image")
    if not again:
        condition = AllOf(condition, Not(Exists("ocr")))
    keys = collection.keys(condition if where is None else AllOf(condition, where))
    report = OcrReport()
    opened = map_ahead(_opened, _items(collection, keys), threads=2, ahead=4)
    try:
        for batch in batched(opened, BATCH):
            changed = []
            for item, pixels in batch:
                if isinstance(pixels, Skipped):
                    report.skipped.append(pixels)
                    continue
                text = _text(engine, pixels)
                changed.append(replace(item, meta={**item.meta, "ocr": text}))
                report.read += 1
                report.texts += bool(text)
            collection.update(changed)
            if progress:
                progress(report, len(keys))
    finally:
        opened.close()
    return report


def _engine(threads: int | None) -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ModuleNotFoundError as error:
        raise MissingExtra("reading the text in pictures", "ocr") from error
    return RapidOCR(intra_op_num_threads=threads or -1)


def _items(collection: Collection, keys: list[str]) -> Iterator[Item]:
    for some in batched(keys, 500):
        yield from collection.get(some)


def _opened(item: Item) -> tuple[Item, Array | Skipped]:
    from mmsearch.images import open_picture

    try:
        image = open_picture(open_source(item.uri), target=SIDE).image
    except (BadPicture, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return item, Skipped(item.key, item.uri, reason)
    return item, np.asarray(image)[:, :, ::-1]  # the engine takes BGR, as OpenCV does


def _text(engine: Any, pixels: Array) -> str:
    lines, _ = engine(pixels)
    told = [text for _, text, sure in lines or () if float(sure) >= SURE]
    return " ".join(told)[:LONGEST]
