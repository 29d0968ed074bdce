"""Vectors and words fused, on pictures of one colour whose answer can be seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from index_store import Collection, Compare, Item
from mmsearch import Encoder, Engine, Query, ingest, read
from mmsearch.hybrid import lexicon_of, search_hybrid, words_of
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.cli.conftest import mmsearch as mmsearch
from tests.mmsearch.conftest import paint


@pytest.fixture
def engine(collection: Collection, encoder: Encoder, tmp_path: Path) -> Engine:
    """A red picture called "zebra", a green one, and a blue one called "redHouse"."""
    for name, color in (("zebra", "red"), ("lawn", (0, 255, 0)), ("redHouse", "blue")):
        paint(tmp_path / "photos" / "Greece" / f"{name}.png", color)
    ingest(read(str(tmp_path / "photos")), encoder, collection)
    return Engine(collection, encoder)


def names(hits: list) -> list[str]:
    return [Path(h.item.key).stem for h in hits]


def test_words_find_what_the_model_does_not_know(engine: Engine) -> None:
    lexicon = lexicon_of(engine.collection)
    hits = search_hybrid(engine, lexicon, Query("zebra", k=2))
    assert names(hits)[0] == "zebra"
    assert hits[0].parts["lexical"] > 0
    assert "lexical" not in hits[1].parts


def test_scores_are_the_reciprocal_ranks_with_their_weights(engine: Engine) -> None:
    lexicon = lexicon_of(engine.collection)
    first, second, third = search_hybrid(engine, lexicon, Query("red", k=3), weight=0.25)
    assert [first.rank, second.rank, third.rank] == [1, 2, 3]
    assert names([first]) == ["redHouse"]  # second or third by its vector, first by its name
    by_vector = names(engine.search(Query("red", k=3))).index("redHouse") + 1
    assert first.score == pytest.approx(0.75 / (60 + by_vector) + 0.25 / 61)
    assert second.score == pytest.approx(0.75 / 61)
    only = search_hybrid(engine, lexicon, Query("red", k=3), weight=0.0)
    assert names(only) == names(engine.search(Query("red", k=3)))


def test_a_filter_counts_for_words_too(engine: Engine) -> None:
    lexicon = lexicon_of(engine.collection)
    query = Query("zebra", k=3, where=Compare("name", "=", "lawn.png"))
    assert names(search_hybrid(engine, lexicon, query)) == ["lawn"]


def test_an_items_words_are_its_names_captions_and_tags() -> None:
    meta = {"title": "A boat", "keywords": ["sea", "blue sky"], "tags": ["boat"]}
    item = Item("/home/me/Greece 2019/IMG_old-Boat.jpg", meta=meta)
    found = words_of(item)
    assert found.fields["name"] == "IMG_old-Boat"
    assert found.fields["folder"] == "home me Greece 2019"
    assert found.fields["text"].strip() == "A boat"
    assert found.fields["tags"] == "sea blue sky boat"
    caption = words_of(Item("/a/b.jpg#caption-0", "text", text="a boat",
                            meta={"picture": "/a/b.jpg"}))  # fmt: skip
    assert (caption.picture, caption.fields["text"]) == ("/a/b.jpg", "a boat")
    assert "name" not in caption.fields


def test_reading_many_words_shows_a_bar_unless_it_is_to_be_quiet(
    mmsearch: Mmsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "photos" / "zebra.png", "red")
    assert mmsearch("index", tmp_path / "photos", "--model", "color").code == 0
    lexicon = tmp_path / "store" / "lex"
    assert mmsearch("search", "zebra", "--hybrid").err == ""  # stderr is no terminal
    monkeypatch.setattr("mmsearch.cli.hybrid.is_terminal", lambda: True)
    shutil.rmtree(lexicon)
    assert mmsearch("search", "zebra", "--hybrid").err == ""  # it takes less than a second
    monkeypatch.setattr("mmsearch.cli.hybrid.DELAY_S", 0.0)
    shutil.rmtree(lexicon)
    done = mmsearch("search", "zebra", "--hybrid")
    assert "reading words" in done.err
    assert "zebra.png" in done.out
    assert mmsearch("search", "zebra", "--hybrid").err == ""
    shutil.rmtree(lexicon)
    assert mmsearch("search", "zebra", "--hybrid", "--quiet").err == ""
    shutil.rmtree(lexicon)
    (tmp_path / "lines.txt").write_text("zebra")
    assert mmsearch("batch", tmp_path / "lines.txt", "--hybrid", "-q").err == ""
    shutil.rmtree(lexicon)
    assert "reading words" in mmsearch("batch", tmp_path / "lines.txt", "--hybrid").err


def test_search_by_words_from_the_command_line(mmsearch: Mmsearch, tmp_path: Path) -> None:
    for name, color in (("zebra", "red"), ("lawn", (0, 255, 0)), ("redHouse", "blue")):
        paint(tmp_path / "photos" / f"{name}.png", color)
    assert mmsearch("index", tmp_path / "photos", "--model", "color").code == 0
    done = mmsearch("search", "zebra", "--hybrid", "--explain", "-n", "1")
    assert (done.code, done.err) == (0, "")
    assert "zebra.png" in done.out
    assert "lexical" in done.out
    out = mmsearch("search", "red", "--hybrid", "--hybrid-weight", "0.9", "--explain",
                   "--format", "json").out  # fmt: skip
    first = json.loads(out)["hits"][0]
    assert Path(first["path"]).name == "redHouse.png"
    assert set(first["parts"]) == {"vector", "lexical"}
    assert "zebra.png" in mmsearch("search", "red", "--no-hybrid", "-n", "1").out
    done = mmsearch("search", tmp_path / "photos" / "lawn.png", "--hybrid", "-n", "1")
    assert "no words in the question" in done.err
    assert "lawn.png" in done.out
