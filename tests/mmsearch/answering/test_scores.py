"""Figures over many questions: which apply is told by the questions."""

from __future__ import annotations

from mmsearch.answering.scores import change, parts, per_question, summary
from mmsearch.readers.questions import Question
from mmsearch.types import Item, Sample


def question(picture: str, *answers: str, kind: str = "") -> Question:
    return Question("1", "what?", answers, Sample(Item(picture)), kind)


def test_peoples_answers_get_the_official_accuracy() -> None:
    asked = [question("a", *["red"] * 4, *["blue"] * 6, kind="other"),
             question("b", *["red"] * 2, *["blue"] * 8, kind="other")]  # fmt: skip
    values = per_question(asked, ["Red", "the red"], {})
    assert list(values) == ["VQA accuracy", "exact match", "F1"]
    assert [round(v) for v in values["VQA accuracy"]] == [100, 60]
    assert list(values["exact match"]) == [100, 100]


def test_an_answer_of_parts_is_right_as_a_set() -> None:
    asked = [question("a", "table", "chair"), question("b", "lamp")]
    values = per_question(asked, ["chair, table", "sofa"], {"WUPS": lambda a, b: float(a == b)})
    assert list(values["accuracy"]) == [100, 0]
    assert list(values["WUPS"]) == [100, 0]
    assert parts(" chair,table , ") == ["chair", "table"]


def test_a_difference_is_over_the_same_pictures() -> None:
    asked = [question(f"picture {n}", "yes") for n in range(40)]
    pictures = [q.picture.item.key for q in asked]
    never = per_question(asked, ["no"] * 40, {})
    often = per_question(asked, ["yes"] * 30 + ["no"] * 10, {})
    gap = change(never, often, pictures)["accuracy"]
    assert gap["value"] == 75
    assert 55 < gap["low"] < 75 < gap["high"] < 95
    same = change(often, often, pictures)["accuracy"]
    assert (same["low"], same["high"]) == (0, 0)
    assert summary(often, pictures)["accuracy"]["value"] == 75
