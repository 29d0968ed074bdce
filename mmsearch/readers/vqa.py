"""VQA v1 and v2: a file of questions, and a file of ten people's answers beside it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.readers.json_stream import JsonStream, json_stream
from mmsearch.readers.questions import Asked, broken, pictures
from mmsearch.readers.samples import without_splits
from mmsearch.types import Sample, Skipped
from mmsearch.uris import clean

OTHER = "other"  # the type of what is neither "yes/no" nor "number", or not said
_TASKS = ("OpenEnded_", "MultipleChoice_")


@dataclass(frozen=True, slots=True)
class _Answers:
    all: tuple[str, ...]
    best: str
    kind: str


def read(path: str, *, split: str | None = None) -> Iterator[Sample | Skipped]:
    """Yield the pictures that are asked about, with "QUESTION ANSWER" as captions.

    The answer is the one that most people gave. Without an answer (the test sets) a question
    is no caption: it doesn't say what the picture shows.

    Args:
        path: the file of questions; `answers_file` is looked for beside it.
        split: must be None: each file is one.

    Raises:
        BadSource: a split was asked for; a file cannot be read or is no JSON.
    """
    without_splits(path, split, "a file of VQA")
    yield from pictures(path, asked(path))


def asked(path: str) -> Iterator[Asked | Skipped]:
    """Yield the questions in the file's order. The answers are held, the questions are not.

    Raises:
        BadSource: a file cannot be read or is no JSON.
    """
    answers = _answers(path)
    source, subset = "mscoco", ""
    with json_stream(path) as stream:
        for name in stream.members():
            if name == "data_type":
                source = str(stream.value())
            elif name == "data_subtype":
                subset = str(stream.value())
            elif name == "questions":
                yield from _questions(path, stream, answers, source, subset)


def answers_file(path: str) -> Path:
    """Return the path of the answers to a file of questions.

    v2_OpenEnded_mscoco_train2014_questions.json has v2_mscoco_train2014_annotations.json.
    """
    file = Path(path)
    name = file.name.replace("_questions", "_annotations")
    for task in _TASKS:
        name = name.replace(task, "")
    return file.with_name(name)


def is_answers(first: object) -> bool:
    """Return whether a list "annotations" that starts with this holds VQA's answers."""
    return isinstance(first, dict) and {"question_id", "answers"} <= first.keys()


def _questions(
    path: str, stream: JsonStream, answers: dict[int, _Answers], source: str, subset: str
) -> Iterator[Asked | Skipped]:
    subset = subset or _subset(path)
    for n, fields in enumerate(stream.elements(), start=1):
        where = f"question {n}"
        image = fields.get("image_id") if isinstance(fields, dict) else None
        if not isinstance(image, int) or not isinstance(fields.get("question"), str):
            yield broken(path, where, "no image_id or no question")
            continue
        number, question = fields.get("question_id"), clean(fields["question"])
        known = answers.get(number) if isinstance(number, int) else None
        yield Asked(
            where,
            str(number),
            image,
            _names(image, source, subset),
            question,
            known.all if known else (),
            f"{question} {known.best}" if known and known.best else "",
            known.kind if known else "",
        )


def _answers(path: str) -> dict[int, _Answers]:
    """Return the answers by question id; none where there is no such file."""
    file = answers_file(path)
    known: dict[int, _Answers] = {}
    if file.name == Path(path).name or not file.is_file():
        return known
    with json_stream(str(file)) as stream:
        for name in stream.members():
            if name != "annotations":
                continue
            for note in stream.elements():
                if isinstance(note, dict) and isinstance(note.get("question_id"), int):
                    known[note["question_id"]] = _read_note(note)
    return known


def _read_note(note: dict[str, Any]) -> _Answers:
    found = note.get("answers")
    # Interned: ten people say "yes" ten times.
    given = tuple(
        sys.intern(clean(a["answer"]))
        for a in (found if isinstance(found, list) else ())
        if isinstance(a, dict) and isinstance(a.get("answer"), str)
    )
    best = note.get("multiple_choice_answer")
    if not isinstance(best, str):
        best = Counter(given).most_common(1)[0][0] if given else ""
    kind = note.get("answer_type")
    # Never "": that would make them the parts of one answer.
    return _Answers(
        given, clean(best), sys.intern(kind) if kind and isinstance(kind, str) else OTHER
    )


def _names(image: int, source: str, subset: str) -> tuple[str, ...]:
    """Return what a picture's file may be called: as in 2014, and as COCO 2017 has it."""
    subset = subset.replace("test-dev", "test")
    if source != "mscoco":  # abstract_v002_train2015_000000000001.png
        return (f"{source}_{subset}_{image:012d}.png",)
    return (f"COCO_{subset}_{image:012d}.jpg", f"{image:012d}.jpg")


def _subset(path: str) -> str:
    """Return the subset from the file's name, for a file that doesn't say it (first)."""
    return Path(path).stem.removesuffix("_questions").rpartition("_")[2]
