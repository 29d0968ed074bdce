"""Texts cut into phrases."""

from __future__ import annotations

from mmsearch.explaining.phrases import phrases


def test_phrases_are_what_stands_between_small_words() -> None:
    found = phrases("A black dog, and two children in the snow")
    assert found == ["black dog", "two children", "snow"]


def test_a_text_of_one_phrase_is_one_phrase() -> None:
    assert phrases("sunset") == ["sunset"]
    assert phrases("of the") == []


def test_a_phrase_that_is_said_twice_is_there_once() -> None:
    assert phrases("a dog behind a dog") == ["dog"]


def test_hyphens_and_apostrophes_do_not_cut_a_word() -> None:
    assert phrases("the t-shirt of a child's friend") == ["t-shirt", "child's friend"]


def test_words_of_other_scripts_are_words() -> None:
    assert phrases("雪の中の犬, собака") == ["雪の中の犬", "собака"]
