"""`mmsearch eval`: what is printed where, exit codes, wrong calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


@pytest.fixture
def pairs(photos: Path) -> Path:
    """A table of red.png, green.png and nested/blue.png with their colours as captions."""
    path = photos / "pairs.csv"
    path.write_text("image,caption\nred.png,red\ngreen.png,green\nnested/blue.png,blue\n")
    return path


def test_json_goes_to_stdout_alone(mmsearch: Mmsearch, pairs: Path) -> None:
    done = mmsearch("eval", pairs, "--model", "color", "--format", "json", "--resamples", "20")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["schema"], found["model"]) == (1, "color")
    assert found["text_to_image"]["R@1"] == found["image_to_text"]["R@1"] == 100
    assert found["data"]["pictures"] == 3


def test_the_table_names_what_was_measured(mmsearch: Mmsearch, pairs: Path) -> None:
    done = mmsearch("eval", pairs, "--model", "color", "--resamples", "20")
    assert "3 pictures, 3 texts" in done.out
    assert "R@1 %" in done.out
    assert "100.0  [100.0, 100.0]" in done.out


def test_markdown_and_html(mmsearch: Mmsearch, pairs: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = mmsearch("eval", pairs, "--model", "color", "--format", "markdown", "--html", page)
    assert done.out.startswith("- data: ")
    assert page.read_text(encoding="utf8").startswith("<!doctype html>")


def test_an_unreadable_picture_is_named_and_the_exit_code_says_so(
    mmsearch: Mmsearch, pairs: Path
) -> None:
    (pairs.parent / "red.png").write_bytes(b"")
    done = mmsearch("eval", pairs, "--model", "color", "--format", "json")
    assert done.code == 5
    assert "red.png: the file is empty" in done.err
    (skipped,) = json.loads(done.out)["skipped"]
    assert skipped["reason"] == "the file is empty"


def test_the_split_that_was_chosen_is_said(mmsearch: Mmsearch, tmp_path: Path) -> None:
    paint(tmp_path / "red.png", "red")
    image = {"filename": "red.png", "split": "test", "sentences": [{"raw": "red"}]}
    (tmp_path / "d.json").write_text(json.dumps({"images": [image]}))
    done = mmsearch("eval", "d.json", "--model", "color")
    assert "measuring on the split 'test'" in done.err
    assert mmsearch("eval", "d.json", "--model", "color", "--split", "all").err == ""


def test_two_models_are_compared(mmsearch: Mmsearch, pairs: Path) -> None:
    done = mmsearch("eval", pairs, "--compare", "color", "color", "--format", "json")
    gap = json.loads(done.out)["difference"]["text_to_image"]["R@1"]
    assert gap == {"difference": 0, "ci95": [0, 0], "clear": False, "b_better": 0.5}


def test_a_collection_is_measured(indexed: Mmsearch, tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("1\tred\n2\tgreen\n")
    (tmp_path / "j.qrels").write_text("1 0 red.png 1\n2 0 green.png 1\n")
    page = tmp_path / "page.html"
    call = ("eval", "--queries", "q.tsv", "--qrels", "j.qrels", "--format", "json")
    done = indexed(*call, "--where", "width > 20", "--html", page)
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["text_to_image"]["R@1"] == 100
    assert list(found["loss"]["text_to_image"]) == [
        "queries", "answerable", "model", "exact", "filter",
    ]  # fmt: skip
    assert "<img" in page.read_text(encoding="utf8")


def test_what_captions_and_words_add_to_a_collection_is_measured(
    indexed: Mmsearch, tmp_path: Path
) -> None:
    (tmp_path / "q.tsv").write_text("1\tred\n2\ta picture called green\n3\tblue\n")
    # By its colour "blue" is green.png the last, by its name nothing; "green" is in the name.
    (tmp_path / "j.qrels").write_text("1 0 red.png 1\n2 0 green.png 1\n3 0 green.png 1\n")
    call = ("eval", "--queries", "q.tsv", "--qrels", "j.qrels")
    loss = json.loads(indexed(*call, "--hybrid", "--format", "json").out)["loss"]["text_to_image"]
    assert list(loss) == ["queries", "model", "exact", "hybrid"]
    assert loss["hybrid"]["against"] == "exact"
    assert loss["hybrid"]["R@1"] == pytest.approx(200 / 3, abs=1e-3)
    words = indexed(*call, "--hybrid", "--hybrid-weight", "1")
    assert "captions, words (--hybrid)" in words.out
    assert indexed("config", "set", "hybrid", "true").code == 0
    assert "captions, words (--hybrid)" in indexed(*call).out
    assert indexed("eval", "pairs.csv", "--model", "color").code != 0  # there is no such file
    assert "--hybrid is for a collection" not in indexed("eval", "pairs.csv").err


def test_captions_of_a_collection_are_measured_with_kind_text(
    indexed: Mmsearch, tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "q.tsv").write_text("1\tred\n")
    (tmp_path / "j.qrels").write_text(f"1\t0\t{photos / 'red.png'}#caption-0\t1\n")
    call = ("eval", "--queries", "q.tsv", "--qrels", "j.qrels", "--kind", "text")
    assert json.loads(indexed(*call, "--format", "json").out)["text_to_text"]["R@1"] == 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((), "give DATA"),
        (("--queries", "q.tsv"), "give DATA"),
        (("pairs.csv", "--queries", "q.tsv", "--qrels", "x"), "leave out DATA"),
        (("pairs.csv", "--hybrid"), "--hybrid is for a collection"),
        (("--queries", "q", "--qrels", "x", "--group", "g"), "--group needs DATA"),
        (("--queries", "q", "--qrels", "x", "--compare", "a", "b"), "--compare needs DATA"),
        (("pairs.csv", "--compare", "a", "b", "--ann"), "--ann cannot go with --compare"),
        (("pairs.csv", "--compare", "a", "b", "--html", "x"), "--html cannot go with --compare"),
        (("pairs.csv", "--html", "no/such/folder/x.html"), "there is no folder for"),
        (("gone.csv",), "no such file"),
    ],
)
def test_a_wrong_call_is_told_before_any_work(
    mmsearch: Mmsearch, call: tuple[str, ...], message: str
) -> None:
    done = mmsearch("eval", *call)
    assert done.code == 2
    assert message in done.err


def test_a_small_set_gets_no_index_and_that_is_said(mmsearch: Mmsearch, pairs: Path) -> None:
    done = mmsearch("eval", pairs, "--model", "color", "--ann", "--format", "json")
    found = json.loads(done.out)
    assert "index" not in found["loss"]["text_to_image"]
    assert any("no index over 3 images" in note for note in found["notes"])


def test_captions_that_say_the_same_are_one_text_on_real_pictures(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    photos = sorted((shared_data("flickr8k") / "test").iterdir())[:6]
    told = [(path, "a dog" if n < 3 else f"photograph {n}") for n, path in enumerate(photos)]
    table = tmp_path / "pairs.csv"
    table.write_text("image,caption\n" + "".join(f"{p},{text}\n" for p, text in told))
    call = ("eval", table, "--model", "color", "--format", "json", "--resamples", "20")
    apart = json.loads(mmsearch(*call, "--ann", "--effort", "6").out)
    assert (apart["data"]["pictures"], apart["data"]["texts"]) == (6, 6)
    merged = json.loads(mmsearch(*call, "--merge-captions").out)
    assert (merged["data"]["pictures"], merged["data"]["texts"]) == (6, 4)
    assert merged["text_to_image"]["R@10"] == 100
