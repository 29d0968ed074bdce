"""`mmsearch eval-answers`: answerers put to questions whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmsearch.answer_metrics import Similarity
from mmsearch.answering import Answerer
from mmsearch.answering.asking import regions_of
from mmsearch.answering.scores import change, per_question, summary
from mmsearch.errors import BadPicture, BadRegions, BadSource
from mmsearch.images import open_picture
from mmsearch.readers.questions import Question
from mmsearch.sources import open_source
from mmsearch.types import Skipped


def judge(
    questions: Sequence[Question], answerers: Mapping[str, Answerer],
    similar: Mapping[str, Similarity], *, regions: Path | None = None,
    progress: Callable[[str, int, int], object],
) -> dict[str, Any]:  # fmt: skip
    """Return the figures of each answerer over the same questions, as JSON has them.

    Each picture is opened once; one that cannot be, or has no regions where they are needed, is
    left out for all. With two answerers `over` holds what the second has over the
    first.

    Args:
        questions: with answers.
        answerers: by name.
        similar: WUPS to measure besides, as `per_question` takes it.
        regions: a folder with NAME.npz for NAME.jpg, for answerers that look at regions.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        BadSource: no picture can be opened.
        BadRegions: an answerer looks at regions and there is no folder of them, or they are
            another picture's.
        ModelUnavailable: an answerer refuses its input.
    """
    by_picture: dict[str, list[int]] = {}
    for n, question in enumerate(questions):
        by_picture.setdefault(question.picture.item.key, []).append(n)
    said: dict[str, dict[int, str]] = {name: {} for name in answerers}
    skipped = []
    for done, (key, numbers) in enumerate(by_picture.items(), start=1):
        item = questions[numbers[0]].picture.item
        try:
            image = open_picture(open_source(item.uri)).image
            given = {name: regions_of(a, regions, item.key) for name, a in answerers.items()}
        except (BadPicture, BadRegions, OSError, ValueError) as error:
            skipped.append(Skipped(key, item.uri, str(error)))
            continue
        for name, answerer in answerers.items():
            for n in numbers:
                answers = answerer.answer(image, questions[n].question, regions=given[name])
                said[name][n] = answers[0].text if answers else ""
        progress("pictures", done, len(by_picture))
    asked = sorted(next(iter(said.values())))
    if not asked:
        raise BadSource(f"none of {len(by_picture):,} pictures can be opened: {skipped[0].reason}")
    kept = [questions[n] for n in asked]
    pictures = [q.picture.item.key for q in kept]
    values = {
        name: per_question(kept, [own[n] for n in asked], similar) for name, own in said.items()
    }
    result: dict[str, Any] = {
        "schema": 1,
        "questions": len(kept),
        "pictures": len(set(pictures)),
        "figures": {name: summary(own, pictures) for name, own in values.items()},
        "skipped": [{"key": s.key, "reason": s.reason} for s in skipped],
    }
    if len(values) == 2:
        one, two = values
        result["over"] = {one: change(values[one], values[two], pictures)}
    return result
