"""A question put to several pictures, and what they say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch.answering import Answer, Answerer
from mmsearch.errors import BadPicture, BadQuery, BadRegions
from mmsearch.images import open_picture
from mmsearch.regions import Regions, read_regions
from mmsearch.sources import open_source
from mmsearch.types import Item
from mmsearch.uris import path_of, uri_of

LONGEST = 1_000  # characters of a question


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture's answers, best first; or why it has none. name: its path or key."""

    name: str
    answers: tuple[Answer, ...] = ()
    reason: str = ""


def check_question(question: str) -> str:
    """Return the question without blanks around it.

    Raises:
        BadQuery: it is empty or much too long.
    """
    question = question.strip()
    if not question:
        raise BadQuery("the question is empty")
    if len(question) > LONGEST:
        raise BadQuery(
            f"the question has {len(question):,} characters; at most {LONGEST:,} are read"
        )
    return question


def ask_items(
    answerer: Answerer, items: Iterable[Item], question: str, *, k: int = 1,
    regions: Path | None = None,
) -> Iterator[Asked]:  # fmt: skip
    """Yield the answers of each picture, in the order given.

    A picture that cannot be opened, or has no regions where they are needed, is reported and
    the others are asked.

    Args:
        answerer: from `load_answerer`.
        items: pictures of a collection.
        question: in the model's language.
        k: answers of each picture.
        regions: a folder with a file NAME.npz for each picture NAME.jpg.

    Raises:
        BadQuery: the question is empty or much too long.
        ModelUnavailable: the model refuses its input.
    """
    question = check_question(question)
    for item in items:
        name = path_of(item.uri) if item.uri.startswith("file:") else item.key
        try:
            image = open_picture(open_source(item.uri)).image
            found = regions_of(answerer, regions, name)
            yield Asked(name, tuple(answerer.answer(image, question, k=k, regions=found)))
        except (BadPicture, BadRegions, ValueError) as error:
            yield Asked(name, reason=str(error))
        except OSError as error:
            yield Asked(name, reason=error.strerror or str(error))


def ask_file(
    answerer: Answerer, path: str, question: str, *, k: int = 1, regions: Path | None = None
) -> Asked:
    """Return one picture's answers. Arguments as above, but `regions` is the file itself.

    Raises:
        BadQuery: the question is empty, or the picture cannot be read.
        BadRegions: the regions are missing, damaged, or not this picture's.
        ModelUnavailable: the model refuses its input.
    """
    question = check_question(question)
    try:
        image = open_picture(path).image
    except BadPicture as error:
        raise BadQuery(f"cannot ask about {path_of(uri_of(path))}: {error}") from error
    found = read_regions(str(regions)) if regions is not None else None
    return Asked(path, tuple(answerer.answer(image, question, k=k, regions=found)))


def together(asked: Sequence[Asked], *, k: int = 1) -> list[Answer]:
    """Return what the pictures say together: the mean of each answer's scores, best first.

    A picture that doesn't name an answer gives it 0, one that could not be asked has no say.
    """
    voters = [one for one in asked if not one.reason]
    sums: dict[str, float] = defaultdict(float)
    for one in voters:
        for answer in one.answers:
            sums[answer.text] += answer.score
    best = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Answer(text, total / len(voters)) for text, total in best[:k]]


def regions_of(answerer: Answerer, folder: Path | None, name: str) -> Regions | None:
    """Return the regions of a picture from the folder, if the answerer looks at any."""
    if not answerer.needs_regions or folder is None:
        return None
    return read_regions(str(folder / f"{Path(name).stem}.npz"))
