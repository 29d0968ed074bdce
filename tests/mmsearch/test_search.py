"""Queries through the engine, with colours that can be checked by eye."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from index_store import Collection, Space, Store
from index_store.errors import SpaceMismatch
from mmsearch import Encoder, Engine, Hit, Query, ingest, parse_where, read
from mmsearch.errors import BadQuery
from mmsearch.hybrid import lexicon_of, search_hybrid
from mmsearch.reranking import RerankingEngine, Second
from tests.mmsearch.conftest import paint
from tests.mmsearch.test_reranking import Known


@pytest.fixture
def engine(photos: Path, encoder: Encoder, collection: Collection) -> Engine:
    (photos / "red.txt").write_text("something red")
    (photos / "green.txt").write_text("something green")
    ingest(read(str(photos)), encoder, collection)
    return Engine(collection, encoder)


def names(hits: list[Hit]) -> list[str]:
    return [Path(h.item.key).name for h in hits]


def test_a_text_finds_the_picture_it_describes(engine: Engine) -> None:
    hits = engine.search(Query("a blue thing"))
    assert names(hits)[0] == "blue.png"
    assert [h.rank for h in hits] == [1, 2, 3]
    assert hits[0].score == hits[0].parts["vector"] > hits[1].score


def test_a_picture_finds_its_like_from_a_path_or_a_decoded_image(
    engine: Engine, tmp_path: Path
) -> None:
    scaled = paint(tmp_path / "query.png", (250, 5, 5), (7, 90))
    assert names(engine.search(Query(image=str(scaled), k=1))) == ["red.png"]
    assert names(engine.search(Query(image=Image.new("RGB", (5, 5), "blue"), k=1))) == ["blue.png"]


def test_a_picture_finds_the_caption_that_fits(engine: Engine, photos: Path) -> None:
    hits = engine.search(Query(image=str(photos / "green.png"), kind="text"))
    assert [h.item.text for h in hits] == ["something green", "something red"]


def test_a_filter_narrows_the_answer(engine: Engine) -> None:
    hits = engine.search(Query("red", where=parse_where('name = "blue.png"')))
    assert names(hits) == ["blue.png"]


@pytest.mark.parametrize(
    "wrong", [{"k": -1}, {"kind": "video"}, {"min_score": float("nan")}, {"min_score": "best"}]
)
def test_what_is_wanted_must_be_clear_to_every_way_of_searching(
    engine: Engine, wrong: dict[str, Any]
) -> None:
    query = Query("red", **wrong)
    again = RerankingEngine(engine.collection, engine.encoder, Second(Known({})))
    lexicon = lexicon_of(engine.collection)
    for ask in (engine.search, again.search, partial(search_hybrid, engine, lexicon)):
        with pytest.raises(BadQuery):
            ask(query)
    assert len(engine.search(Query("red", min_score=-1))) == 3
    assert engine.search(Query("red", min_score=float("inf"))) == []
    assert engine.search(Query("red", k=0)) == []


def test_a_batch_answers_as_single_queries_do(engine: Engine, photos: Path) -> None:
    queries = [Query("red"), Query(image=str(photos / "green.png")), Query("blue", k=1)]
    assert engine.search_batch(queries) == [engine.search(q) for q in queries]
    assert engine.search_batch([]) == []


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query("  "),
        Query("\udcff"),
        Query("red", image="x.png"),
        Query(image="/no/such.png"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(engine: Engine, query: Query) -> None:
    with pytest.raises(BadQuery):
        engine.search(query)


def test_an_engine_with_the_wrong_encoder_is_refused(store: Store, encoder: Encoder) -> None:
    with pytest.raises(SpaceMismatch):
        Engine(store.create_collection("other", Space("x", 4)), encoder)
