"""Questions about pictures, with their answers: of VQA, GQA, and data sets with a list "qa"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmsearch.readers.places import places
from mmsearch.readers.samples import Places, distinct
from mmsearch.types import MetaValue, Sample, Skipped
from mmsearch.uris import key_of, uri_of


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a picture.

    id: as the data set has it. answers: in a test set none; of VQA what ten people said, in
    their order; of GQA one; of DAQUAR the parts of one answer, which is right when all are
    named. kind: VQA's answer type ("yes/no", "number", "other"), else "".
    """

    id: str
    question: str
    answers: tuple[str, ...]
    picture: Sample
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a file has it, its picture not looked for yet.

    where: "question 7", for the reason if the picture is missing. image: what the data set
    calls the picture. names: what its file may be called. text: what it says of the picture
    as a caption, "" if nothing.
    """

    where: str
    id: str
    image: int | str
    names: tuple[str, ...]
    question: str
    answers: tuple[str, ...] = ()
    text: str = ""
    kind: str = ""


def pictures(path: str, asked: Iterable[Asked | Skipped]) -> Iterator[Sample | Skipped]:
    """Yield each picture once, in the order of its first question, their texts as captions.

    All texts are held until the last question has been read: those of one picture may stand
    far apart. A text that a picture has twice, capitals aside, counts once.
    """
    near = places(path)
    first: dict[int | str, Asked] = {}
    texts: dict[int | str, list[str]] = {}
    for one in asked:
        if isinstance(one, Skipped):
            yield one
            continue
        first.setdefault(one.image, one)
        texts.setdefault(one.image, []).extend([one.text] if one.text else ())
    for image, one in first.items():
        yield _sample(near, one, captions=distinct(texts[image]))


def located(path: str, asked: Iterable[Asked | Skipped]) -> Iterator[Question | Skipped]:
    """Yield each question with its picture; a picture that isn't there is reported once."""
    near = places(path)
    found: dict[int | str, Sample | None] = {}
    for one in asked:
        if isinstance(one, Skipped):
            yield one
            continue
        if one.image not in found:
            sample = _sample(near, one)
            found[one.image] = sample if isinstance(sample, Sample) else None
            if isinstance(sample, Skipped):
                yield sample
        picture = found[one.image]
        if picture is not None:
            yield Question(one.id, one.question, one.answers, picture, one.kind)


def broken(path: str, where: str, what: str) -> Skipped:
    """Return the report of a question that cannot be used: what it lacks."""
    mark = f"#{where.replace(' ', '-')}"
    return Skipped(key_of(path) + mark, uri_of(path) + mark, f"{where}: {what}")


def _sample(near: Places, one: Asked, *, captions: list[str] | None = None) -> Sample | Skipped:
    """Return the picture under the first of its names that is there, else the first's report."""
    extra: dict[str, MetaValue] = {"id": one.image}
    results = []
    for name in one.names:
        found = near.sample(name, where=one.where, captions=captions or (), extra=extra)
        if isinstance(found, Sample):
            return found
        results.append(found)
    return results[0]
