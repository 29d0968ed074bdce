"""`mmsearch cluster`: names, the map, and what is stored."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


@pytest.fixture
def colors(mmsearch: Mmsearch, tmp_path: Path) -> Mmsearch:
    """Four red and three blue pictures."""
    for n in range(4):
        paint(tmp_path / "photos" / f"red{n}.png", (255 - n, 0, 0))
    for n in range(3):
        paint(tmp_path / "photos" / f"blue{n}.png", (0, 0, 255 - n))
    assert mmsearch("index", tmp_path / "photos", "--model", "color").code == 0
    return mmsearch


def test_groups_are_named_by_a_list_of_words(colors: Mmsearch, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red\nblue\ngreen\n")
    done = colors("cluster", "-k", "2", "--words", words, "--format", "json", "--threads", "1")
    first, second = json.loads(done.out)["clusters"]
    assert (first["count"], second["count"]) == (4, 3)
    assert first["name"].startswith("red")
    assert {Path(k).name for k in second["keys"]} == {"blue0.png", "blue1.png", "blue2.png"}


def test_groups_are_named_by_captions_where_there_are_some(
    colors: Mmsearch, tmp_path: Path
) -> None:
    assert colors("cluster", "--names", "captions").code == 2
    table = tmp_path / "pairs.csv"
    rows = [f"photos/red{n}.png,a tomato" for n in range(4)]
    rows += [f"photos/blue{n}.png,a whale" for n in range(3)]
    table.write_text("\n".join(["image,caption", *rows]))
    assert colors("index", table).code == 0
    for names in ("auto", "captions"):
        out = colors("cluster", "-k", "2", "--names", names, "--format", "jsonl").out
        assert [json.loads(line)["name"] for line in out.splitlines()] == ["tomato", "whale"]
    out = colors("cluster", "-k", "2", "--names", "words", "--seed", "3").out
    assert "tomato" not in out
    assert out.split()[0] == "4"


def test_stored_names_can_be_searched_for(colors: Mmsearch, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("blue\n")
    assert colors("cluster", "-k", "2", "--words", words, "--write", "--where",
                  "name ~ 'blue'").code == 0  # fmt: skip
    done = colors("search", "red", "--where", "cluster ~ 'blue'", "--format", "paths")
    assert {Path(p).name for p in done.out.splitlines()} == {"blue0.png", "blue1.png", "blue2.png"}


def test_a_filter_that_leaves_too_few_is_one_clear_line(colors: Mmsearch) -> None:
    done = colors("cluster", "-k", "5", "--path", "blue*")
    assert (done.code, done.out) == (2, "")
    assert "3 pictures cannot be put into 5 clusters" in done.err


def test_the_map_holds_the_pictures_and_nothing_from_outside(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    folder = tmp_path / "album"
    folder.mkdir()
    for path in sorted((shared_data("flickr8k") / "test").iterdir())[:12]:
        shutil.copy(path, folder)
    shutil.copy(next(folder.iterdir()), folder / "a<b>&.jpg")
    assert mmsearch("index", folder, "--model", "color").code == 0
    page = tmp_path / "map.html"
    done = mmsearch("cluster", "-k", "3", "--html", page)
    assert done.code == 0
    text = page.read_text()
    on_map, below = text.split("</div>", 1)
    assert on_map.count("<img") == 13
    assert below.count("<h2") == 3
    assert set(re.findall(r'(?:src|href)="([^"]{5}|#c)', text)) == {"data:", "#c"}
    assert "<script" not in text
    assert "a&lt;b&gt;&amp;.jpg" in text
    assert mmsearch("cluster", "--html", tmp_path / "gone" / "map.html").code == 2
