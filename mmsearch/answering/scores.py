"""How good given answers are, over many questions, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mmsearch.answer_metrics import Similarity, exact_match, set_match, token_f1, vqa_accuracy, wups
from mmsearch.metrics import figures, intervals, paired_differences, replicates
from mmsearch.readers.questions import Question

Values = dict[str, npt.NDArray[np.float64]]


def parts(answer: str) -> list[str]:
    """Return the parts of an answer that names several things: "table, chair"."""
    return [part.strip() for part in answer.split(",") if part.strip()]


def of_people(question: Question) -> bool:
    """Return whether the answers are several people's, not the parts of one."""
    return bool(question.kind)


def per_question(
    questions: Sequence[Question], said: Sequence[str], similar: Mapping[str, Similarity]
) -> Values:
    """Return the value of every figure for each question, in per cent.

    Where the answers are what people said (VQA): `VQA accuracy`, `exact match`, `F1`. Where
    they are the parts of one answer (DAQUAR, GQA): `accuracy` (the set of parts is equal), `F1`,
    and what `similar` names.

    Args:
        questions: with answers.
        said: an answer for each.
        similar: names of WUPS and the similarity of each, `{"WUPS@0.9": WuPalmer(...)}`.
    """
    rows: list[dict[str, float]] = []
    for question, answer in zip(questions, said, strict=True):
        right = question.answers
        if of_people(question):
            rows.append(
                {
                    "VQA accuracy": vqa_accuracy(answer, right),
                    "exact match": exact_match(answer, right),
                    "F1": token_f1(answer, right),
                }
            )
            continue
        mine = parts(answer)
        row = {"accuracy": set_match(mine, right), "F1": token_f1(answer, [", ".join(right)])}
        rows.append(row | {name: wups(mine, right, alike) for name, alike in similar.items()})
    names = rows[0].keys() if rows else ()
    return {name: 100 * np.array([row[name] for row in rows]) for name in names}


def summary(values: Values, pictures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return each figure's mean and its 95 % interval; whole pictures are drawn."""
    edges = intervals(replicates(values, pictures))
    means = figures(values)
    return {
        name: {"value": means[name], "low": edges[name][0], "high": edges[name][1]}
        for name in values
    }


def change(before: Values, after: Values, pictures: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return what `after` has over `before`, with the 95 % interval of the paired difference."""
    found = paired_differences(before, after, pictures)
    return {
        name: {"value": one.difference, "low": one.low, "high": one.high}
        for name, one in found.items()
    }
