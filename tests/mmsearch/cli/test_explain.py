"""`mmsearch explain`, with pictures whose parts can be told by their colour."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.mmsearch.cli.conftest import Mmsearch


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """A picture of 300 x 200: red on the left, blue on the right."""
    image = Image.new("RGB", (300, 200), "red")
    image.paste("blue", (150, 0, 300, 200))
    path = tmp_path / "flag.png"
    image.save(path)
    return path


def test_the_point_where_a_phrase_fits_is_told_of_each_phrase(
    mmsearch: Mmsearch, flag: Path
) -> None:
    done = mmsearch("explain", "red beside blue", flag, "--model", "color", "--format", "json")
    assert done.code == 0
    (picture,) = json.loads(done.out)["pictures"]
    assert (picture["path"], picture["width"], picture["height"]) == (str(flag), 300, 200)
    whole, red, blue = picture["maps"]
    assert (whole["text"], red["text"], blue["text"]) == ("red beside blue", "red", "blue")
    assert red["peak"][0] < 150 < blue["peak"][0]
    assert np.array(red["values"]).max() == 1


def test_a_png_is_bright_where_the_text_fits(mmsearch: Mmsearch, flag: Path) -> None:
    done = mmsearch("explain", "blue", flag, "--model", "color", "--out", "why.png")
    assert (done.code, "drawn in why.png" in done.err) == (0, True)
    drawn = np.asarray(Image.open("why.png").convert("L"), float)
    assert drawn.shape == (200, 300)
    assert drawn[:, 200:].mean() > 2 * drawn[:, :100].mean()


def test_a_page_of_hits_has_each_picture_and_loads_nothing(indexed: Mmsearch) -> None:
    done = indexed("explain", "red, blue", "--hits", "2", "--out", "why.html")
    assert done.code == 0
    page = Path("why.html").read_text(encoding="utf8")
    assert page.count("<h2>") == 2
    assert page.count("<figure>") == 2 * 4  # as it is, the text, two phrases
    assert "1. red.png" in page or "1. blue.png" in page
    assert "http" not in page
    assert "<script" not in page


def test_a_text_cannot_write_html_into_the_page(mmsearch: Mmsearch, flag: Path) -> None:
    mmsearch("explain", '<b title="x">red</b>', flag, "--model", "color", "--out", "why.html")
    page = Path("why.html").read_text(encoding="utf8")
    assert "<b title" not in page
    assert "&lt;b title=&quot;x&quot;&gt;red&lt;/b&gt;" in page


def test_hits_are_explained_by_the_model_of_their_collection(indexed: Mmsearch) -> None:
    done = indexed("explain", "green", "--hits", "1")
    assert done.code == 0
    assert done.out.splitlines()[0].endswith("green.png  (40 x 30)")


def test_a_hit_that_is_gone_is_named_and_the_others_are_explained(
    indexed: Mmsearch, photos: Path
) -> None:
    (photos / "green.png").unlink()
    done = indexed("explain", "green", "--hits", "3")
    assert done.code == 5
    assert "left out: " in done.err
    assert "green.png" in done.err
    assert sum(".png" in line for line in done.out.splitlines()) == 2


def test_a_search_without_hits_is_told_as_such(indexed: Mmsearch) -> None:
    done = indexed("explain", "red", "--hits", "2", "--where", "width > 5000")
    assert (done.code, done.out) == (1, "")
    assert "no hits to explain" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["red"], 2, "pictures or --hits"),
        (["red", "flag.png", "--hits", "2"], 2, "pictures or --hits"),
        (["red", "flag.png", "--path", "*.png"], 2, "--path"),
        (["red", "flag.png", "--out", "why.gif"], 2, ".png or .html"),
        (["red", "flag.png", "flag.png", "--out", "why.png"], 2, "one picture"),
        (["red", "flag.png", "--out", "nowhere/why.png"], 2, "no folder nowhere"),
        ([" ", "flag.png"], 2, "the text is empty"),
        (["red", "gone.png"], 2, "cannot explain gone.png"),
        (["red", "--hits", "2"], 3, "no index"),
        (["red", "flag.png", "--model", "colour"], 4, "colour"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    mmsearch: Mmsearch, flag: Path, arguments: list[str], code: int, said: str
) -> None:
    model = [] if "--model" in arguments or "--hits" in arguments else ["--model", "color"]
    done = mmsearch("explain", *arguments, *model)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert not list(Path().glob("why*"))
