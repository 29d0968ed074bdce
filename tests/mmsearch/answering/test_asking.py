"""A question to several pictures; no model of torch is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmsearch.answering import Answer
from mmsearch.answering.asking import Asked, ask_file, ask_items, together
from mmsearch.errors import BadQuery
from mmsearch.regions import Regions
from mmsearch.types import Item
from mmsearch.uris import uri_of
from tests.mmsearch.conftest import paint


class Sizes:
    """Answers with the picture's width; needs no weights, so that answers are known by eye."""

    needs_regions = False

    def answer(
        self, image: Image.Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        return [Answer(str(image.width), 0.8), Answer("wide", 0.2)][:k]


def item(path: Path) -> Item:
    return Item(path.name, uri=uri_of(path))


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = [paint(tmp_path / "a.png", "red"), broken, tmp_path / "gone.png",
             paint(tmp_path / "b.png", "red", (20, 20))]  # fmt: skip
    asked = list(ask_items(Sizes(), [item(p) for p in paths], "how wide?"))
    assert [a.answers[0].text if a.answers else "" for a in asked] == ["40", "", "", "20"]
    assert [bool(a.reason) for a in asked] == [False, True, True, False]


def test_together_is_the_mean_over_the_pictures_that_could_be_asked() -> None:
    asked = [
        Asked("a", (Answer("cat", 0.9), Answer("dog", 0.1))),
        Asked("b", (Answer("dog", 0.6), Answer("cat", 0.2))),
        Asked("c", reason="gone"),
    ]
    assert together(asked, k=2) == [
        Answer("cat", pytest.approx(0.55)), Answer("dog", pytest.approx(0.35)),
    ]  # fmt: skip
    assert together([Asked("c", reason="gone")]) == []


@pytest.mark.parametrize("question", ["", "  ", "why? " * 1000])
def test_a_question_that_is_none_is_refused(tmp_path: Path, question: str) -> None:
    path = str(paint(tmp_path / "a.png", "red"))
    with pytest.raises(BadQuery, match="the question"):
        ask_file(Sizes(), path, question)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadQuery, match=r"no\.png"):
        ask_file(Sizes(), str(tmp_path / "no.png"), "what?")
