"""A JSON data set of any kind that is known here; what it is shows in its structure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from mmsearch.errors import BadSource
from mmsearch.readers import coco, gqa, karpathy, table, visual_genome, vqa
from mmsearch.readers.json_stream import JsonStream, json_stream
from mmsearch.readers.questions import Question, located
from mmsearch.readers.samples import reason_of, without_splits
from mmsearch.types import Sample, Skipped
from mmsearch.uris import printable

EXPECTED = (
    '{"images": [{"filename": ..., "split": ..., "sentences": [{"raw": ...}]}]} (Karpathy), '
    '{"images": [{"id": ..., "file_name": ...}], "annotations": [{"image_id": ..., '
    '"caption": ...}]} (COCO), region descriptions of Visual Genome, questions of VQA or GQA, '
    'or [{"image": ..., "caption": ...}]'
)


def read_dataset(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures of a JSON data set.

    Visual Genome, VQA and GQA are read entry by entry, other files are held in memory. A list
    of records is read like the rows of a table.

    Args:
        path: the JSON file; its pictures are looked for near it (`places` says where).
        split: keep only these ("test", "train,restval"); only Karpathy's and records have them.

    Raises:
        BadSource: it cannot be read, is no JSON, has another structure, or no such split.
    """
    kind = _large_kind(path)
    if kind is not None:
        yield from kind.read(path, split=split)
        return
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


def read_questions(path: str, *, split: str | None = None) -> Iterator[Question | Skipped]:
    """Yield the questions of a JSON data set, each with its answers and its picture.

    VQA (the answers lie in a file beside it), GQA, or an object with a list "qa" of
    {"image": ..., "question": ..., "answers": [...], "split": ...}.

    Args:
        path: the JSON file; its pictures are looked for near it (`places` says where).
        split: keep only these; only a list "qa" has them.

    Raises:
        BadSource: it cannot be read, is no JSON, has no questions, or no such split.
    """
    kind = _large_kind(path)
    if kind is vqa or kind is gqa:
        without_splits(path, split, f"a file of {'VQA' if kind is vqa else 'GQA'}")
        yield from located(path, kind.asked(path))
        return
    data = None if kind else _load(path)
    if not isinstance(data, dict) or not isinstance(data.get("qa"), list):
        raise BadSource(
            f"{printable(path)} has no questions; expected a file of VQA's or GQA's questions, "
            'or {"qa": [{"image": ..., "question": ..., "answers": [...]}]}'
        )
    yield from located(path, karpathy.asked(path, data, split=split))


def _large_kind(path: str) -> ModuleType | None:
    """Return the reader of a file that is not held whole, or None: told by how it begins.

    Raises:
        BadSource: it holds the answers of VQA.
    """
    try:
        with json_stream(path) as stream:
            kind, answers = _kind_of(stream)
    except BadSource:
        return None  # whoever reads it whole says what is wrong
    if answers:
        raise BadSource(
            f"{printable(path)} holds VQA's answers; give the file of questions, such as "
            "v2_OpenEnded_mscoco_train2014_questions.json: the answers are found beside it"
        )
    return kind


def _kind_of(stream: JsonStream) -> tuple[ModuleType | None, bool]:
    """Return the reader, if any, and whether these are VQA's answers without the questions."""
    if stream.peek() == "[":
        first = next(stream.elements(), None)
        return (visual_genome if visual_genome.is_regions(first) else None), False
    for name in stream.members():
        if name == "questions":
            return vqa, False
        if name == "images":
            return None, False
        if name == "annotations":
            return None, vqa.is_answers(next(stream.elements(), None))
        if gqa.is_question(stream.value()):
            return gqa, False
    return None, False


def _load(path: str) -> Any:
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        hint = "; name it .jsonl if it has one object a line" if "Extra data" in str(error) else ""
        raise BadSource(f"{printable(path)} is no JSON: {error}{hint}") from error
