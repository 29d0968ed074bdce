"""Scores of answers, against values worked out by hand."""

from __future__ import annotations

import pytest

from mmsearch.answer_metrics import (
    exact_match,
    normalise_vqa,
    set_match,
    token_f1,
    vqa_accuracy,
    wups,
)


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("A Dog", "dog"),
        ("the two  dogs.", "2 dogs"),
        ("none", "0"),
        ("dont know", "don't know"),
        ("couldn'tve", "couldn't've"),
        ("1,000", "1000"),
        ("red, white", "red white"),
        ("black/white", "black white"),
        ("3.5", "3.5"),
        ("St. Paul", "st paul"),
        ("yes\n", "yes"),
        ("hell", "hell"),  # not "he'll"
    ],
)
def test_answers_are_compared_as_the_official_evaluation_does(answer: str, normal: str) -> None:
    assert normalise_vqa(answer) == normal


@pytest.mark.parametrize(
    ("said_by", "accuracy"),
    # of ten people; leaving out one who said it leaves one fewer to agree with
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)],
)
def test_three_of_the_other_nine_make_an_answer_right(said_by: int, accuracy: float) -> None:
    given = ["yes"] * said_by + ["no"] * (10 - said_by)
    assert vqa_accuracy("Yes.", given) == pytest.approx(
        accuracy if said_by < 10 else 0.0  # where all agree, nothing is normalised
    )
    assert vqa_accuracy("yes", given) == pytest.approx(accuracy)


def test_a_single_answer_is_right_or_wrong() -> None:
    assert vqa_accuracy("The dog", ["dog"]) == 1.0
    assert vqa_accuracy("cat", ["dog"]) == 0.0
    with pytest.raises(ValueError, match="no answers"):
        vqa_accuracy("cat", [])


def test_exact_match_takes_any_of_the_answers() -> None:
    assert exact_match("The Dog!", ["cat", "a dog"]) == 1.0
    assert exact_match("dogs", ["dog"]) == 0.0


def test_f1_counts_words_that_both_have() -> None:
    # 2 of 3 words right, 2 of 2 found: 2 * 2 / (3 + 2)
    assert token_f1("big red bus", ["red bus"]) == pytest.approx(0.8)
    assert token_f1("red red", ["red"]) == pytest.approx(2 / 3)  # the second one counts nothing
    assert token_f1("blue", ["a red bus", "blue sky"]) == pytest.approx(2 / 3)  # the best
    assert token_f1("the", ["a"]) == 1.0
    assert token_f1("the", ["cat"]) == 0.0


def test_a_set_of_answers_is_right_in_any_order() -> None:
    assert set_match(["table", "chair"], ["chair", "table"]) == 1.0
    assert set_match(["table"], ["chair", "table"]) == 0.0


def test_wups_is_the_worse_of_the_two_directions() -> None:
    table = {("sofa", "couch"): 0.9, ("sofa", "table"): 0.5, ("lamp", "couch"): 0.2,
             ("lamp", "table"): 0.4}  # fmt: skip

    def alike(one: str, other: str) -> float:
        return 1.0 if one == other else table[one, other]

    assert wups(["sofa"], ["couch"], alike) == 0.9
    # forth: sofa's best is couch; back: couch's best is sofa, and the table's 0.5
    assert wups(["sofa"], ["couch", "table"], alike) == pytest.approx(0.9 * 0.5)
    assert wups(["sofa", "lamp"], ["couch", "table"], alike) == pytest.approx(0.9 * 0.4)
    assert wups([], ["couch"], alike) == 0.0
    assert wups(["sofa"], ["sofa"], alike) == 1.0
