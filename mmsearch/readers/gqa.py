"""GQA: questions made from scene graphs, each with an answer and a sentence that answers it."""

from __future__ import annotations

from collections.abc import Iterator

from mmsearch.readers.json_stream import json_stream
from mmsearch.readers.questions import Asked, broken, pictures
from mmsearch.readers.samples import without_splits
from mmsearch.types import Sample, Skipped
from mmsearch.uris import clean


def read(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures that are asked about, with the full answers as captions.

    A full answer is a sentence ("The bowl is to the right of the apple."). The test sets have
    none, their pictures come without captions.

    Args:
        path: the file, such as train_balanced_questions.json.
        split: must be None: each file is one.

    Raises:
        BadSource: a split was asked for; the file cannot be read or is no JSON.
    """
    without_splits(path, split, "a file of GQA")
    yield from pictures(path, asked(path))


def asked(path: str) -> Iterator[Asked | Skipped]:
    """Yield the questions in the file's order; one of them is held at a time.

    Raises:
        BadSource: the file cannot be read or is no JSON.
    """
    with json_stream(path) as stream:
        for name in stream.members():
            fields, where = stream.value(), f"question {name}"
            image = fields.get("imageId") if isinstance(fields, dict) else None
            if not isinstance(image, str) or not isinstance(fields.get("question"), str):
                yield broken(path, where, "no imageId or no question")
                continue
            answer, sentence = fields.get("answer"), fields.get("fullAnswer")
            yield Asked(
                where,
                name,
                image,
                (f"{image}.jpg",),
                clean(fields["question"]),
                (clean(answer),) if isinstance(answer, str) else (),
                clean(sentence) if isinstance(sentence, str) else "",
            )


def is_question(value: object) -> bool:
    """Return whether an object of which this is the first value is a file of GQA."""
    return isinstance(value, dict) and {"imageId", "question"} <= value.keys()
