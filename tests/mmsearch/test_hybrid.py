"""Vectors and words fused, on pictures of one colour whose answer can be seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Compare, Item
from index_store.types import Vectors
from index_store.where import Glob
from mmsearch import Encoder, Engine, Query, ingest, read
from mmsearch.encoders.color import COLORS as RGB
from mmsearch.hybrid import lexicon_of, search_hybrid, words_of
from mmsearch.reranking import RerankingEngine, Second
from mmsearch.types import Part
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


def test_scores_are_the_parts_with_their_weights(engine: Engine) -> None:
    lexicon = lexicon_of(engine.collection)
    hits = search_hybrid(engine, lexicon, Query("red", k=3), weight=0.25)
    cosines = {h.item.key: h.score for h in engine.search(Query("red", k=3))}
    (word,) = lexicon.search("red", 3)
    assert word.share > 0.9
    for hit in hits:  # so few that cosines count as they are
        plain = 0.75 * max(cosines[hit.item.key], 0.0) / max(cosines.values())
        words = 0.25 * word.share if hit.item.key == word.key else 0.0
        assert hit.score == pytest.approx(plain + words)
    assert [h.rank for h in hits] == [1, 2, 3]
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert names(search_hybrid(engine, lexicon, Query("red", k=3), weight=0.6))[0] == "redHouse"
    only = search_hybrid(engine, lexicon, Query("red", k=3), weight=0.0)
    assert names(only) == names(engine.search(Query("red", k=3)))


COLORS = ["red", "green", "blue", "yellow", "red", "cyan", "magenta", "black", "white", "orange"]


def painted(collection: Collection, encoder: Encoder, folder: Path, captions: list[str]) -> Engine:
    """Ten pictures of plain colours; those of which no caption is "" have one."""
    for n, (color, caption) in enumerate(zip(COLORS, captions, strict=True)):
        paint(folder / f"{n}.png", RGB[color])
        if caption:
            (folder / f"{n}.txt").write_text(caption)
    ingest(read(str(folder)), encoder, collection)
    return Engine(collection, encoder)


@pytest.fixture
def told(collection: Collection, encoder: Encoder, tmp_path: Path) -> Engine:
    """Captions name the colours; but that of "4", which is red, says "grey", and "2" has none."""
    captions = [{4: "grey", 2: ""}.get(n, color) for n, color in enumerate(COLORS)]
    return painted(collection, encoder, tmp_path / "photos", captions)


def test_a_picture_is_found_by_what_its_caption_means(told: Engine) -> None:
    lexicon = lexicon_of(told.collection)
    plain = names(told.search(Query("gray", k=10)))
    hits = search_hybrid(told, lexicon, Query("gray", k=10))  # a word that is nowhere written
    assert names(hits).index("4") < plain.index("4")
    assert names(hits).index("4") < names(hits).index("0")  # as red, and called so
    parts = {name: h.parts for name, h in zip(names(hits), hits, strict=True)}
    assert parts["4"]["caption"] == pytest.approx(1.0, abs=1e-3)
    assert parts["0"]["caption"] < 0.8
    assert "caption" not in parts["2"]
    assert all("vector" in p and "lexical" not in p for p in parts.values())


def test_captions_that_do_not_fit_their_pictures_count_as_words_alone(
    collection: Collection, encoder: Encoder, tmp_path: Path
) -> None:
    engine = painted(collection, encoder, tmp_path / "photos", COLORS[3:] + COLORS[:3])
    hits = search_hybrid(engine, lexicon_of(collection), Query("gray", k=10))
    assert names(hits) == names(engine.search(Query("gray", k=10)))
    assert all(set(h.parts) == {"vector"} for h in hits)


def test_a_cut_off_lets_captions_bring_nothing(told: Engine) -> None:
    lexicon = lexicon_of(told.collection)
    assert search_hybrid(told, lexicon, Query("gray", k=10, min_score=0.999)) == []


def test_a_filter_counts_for_captions_too(told: Engine) -> None:
    lexicon = lexicon_of(told.collection)
    query = Query("gray", k=3, where=Compare("name", "=", "5.png"))
    assert names(search_hybrid(told, lexicon, query)) == ["5"]


def test_what_was_deleted_since_it_was_found_is_no_trouble(
    told: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexicon = lexicon_of(told.collection)
    search = told.search_batch

    def searched(queries: list[Query]) -> list:
        found = search(queries)
        told.collection.delete(told.collection.keys(Glob("key", "*/4.png#*")))
        return [[h for h in hits if h.item.key.endswith("/5.png")] for hits in found]

    monkeypatch.setattr(told, "search_batch", searched)
    monkeypatch.setattr(lexicon, "texts_of", lambda keys: {k: [f"{k}#caption-0"] for k in keys})
    assert "5" in names(search_hybrid(told, lexicon, Query("gray", k=10)))


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


def test_words_under_a_filter_are_those_of_what_passes_it(
    collection: Collection, encoder: Encoder
) -> None:
    # 450 pictures say more of zebras, in fewer words, than the three that pass.
    items = [Item(f"/p/{n:03d}.jpg", meta={"n": n, "title": "zebra"}) for n in range(450)]
    items += [
        Item(f"/p/{n}.jpg", meta={"n": n, "title": "a zebra" + " and more" * (n - 990)})
        for n in (997, 998, 999)
    ]
    items += [Item(f"/q/{n:03d}.jpg", meta={"n": n}) for n in range(900, 1000)]
    collection.add(items, np.repeat(encoder.encode_texts(["red"]), len(items), axis=0))
    query = Query("zebra", k=5, where=Compare("n", ">", 950))
    hits = search_hybrid(Engine(collection, encoder), lexicon_of(collection), query)
    assert names(hits[:3]) == ["997", "998", "999"]
    assert ["lexical" in h.parts for h in hits] == [True] * 3 + [False] * 2


def test_a_name_in_camel_case_is_found_whole_and_by_its_parts(engine: Engine) -> None:
    lexicon = lexicon_of(engine.collection)
    for asked in ("redHouse", "redhouse", "red house", "house"):
        (found,) = lexicon.search(asked, 5)
        assert Path(found.key).stem == "redHouse"


def test_a_re_ranked_hit_counts_with_its_new_score(engine: Engine) -> None:
    liked = {h.item.key: 2.0 * ("lawn" in h.item.key) for h in engine.search(Query("red", k=3))}

    class Known:
        name, weight = "known", 1.0

        def score(self, query: Query, items: Sequence[Item]) -> Vectors:
            return np.array([liked[item.key] for item in items], np.float32)

    again = RerankingEngine(engine.collection, engine.encoder, Second(Known()))
    lexicon = lexicon_of(engine.collection)
    hits = search_hybrid(again, lexicon, Query("red", k=3), weight=0.0)
    assert names(hits) == names(again.search(Query("red", k=3)))
    assert names(hits)[0] == "lawn"
    assert hits[0].parts["rerank"] > 1


def test_words_of_a_sum_are_those_of_the_first_text_that_is_wanted(engine: Engine) -> None:
    lexicon = lexicon_of(engine.collection)
    (red,) = (h.item.key for h in engine.search(Query("red", k=1)))
    picture, zebra = Part(image=red), Part("zebra")
    for query in (
        Query(image=red, parts=(zebra,)),
        Query("zebra", parts=(picture,)),
        Query(parts=(Part(image=red, name="image"), zebra)),
        Query("red", weight=-1.0, parts=(Part("green zebra"),)),
    ):
        hits = search_hybrid(engine, lexicon, query)
        assert [n for n, h in zip(names(hits), hits, strict=True) if "lexical" in h.parts] == [
            "zebra"
        ]
    unwanted = Query("red", weight=-1.0)
    assert search_hybrid(engine, lexicon, unwanted) == engine.search(unwanted)


def test_words_bring_back_no_item_that_the_question_names(engine: Engine) -> None:
    (zebra,) = (h.item.key for h in engine.search(Query("red", k=1)))
    query = Query("zebra", parts=(Part(key=zebra),))
    hits = search_hybrid(engine, lexicon_of(engine.collection), query)
    assert sorted(names(hits)) == ["lawn", "redHouse"]
