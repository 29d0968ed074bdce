"""The second stage: what is scored is moved, what is not stays, and the clock is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Item
from index_store.types import Vectors
from mmsearch import Encoder, Engine, Query, ingest, load_encoder, read
from mmsearch.errors import ModelUnavailable, UnknownName
from mmsearch.reranking import Ask, RerankingEngine, Second, load_reranker, rerank, rerank_asks
from mmsearch.types import Hit, Part, Reranker


@dataclass
class Known:
    """Scores items by a table; sleeps before it answers."""

    scores: dict[str, float]
    weight: float | None = 1.0
    wait_s: float = 0.0
    name: str = "known"
    asked: list[str] = field(default_factory=list)

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        time.sleep(self.wait_s)
        self.asked += [item.key for item in items]
        return np.array([self.scores.get(item.key, math.nan) for item in items], np.float32)


def hits(*scores: float) -> list[Hit]:
    names = "abcdefghijklmnopqrstuvwxyz"
    return [
        Hit(n + 1, Item(names[n], "image", names[n]), score, {"vector": score})
        for n, score in enumerate(scores)
    ]


def keys(found: Sequence[Hit]) -> str:
    return "".join(hit.item.key for hit in found)


def test_the_score_is_the_encoders_and_what_the_reranker_gives_above_its_median() -> None:
    second = Second(Known({"a": 0.0, "b": 0.1, "c": 0.38}, weight=0.5))
    found, missed = rerank(Query("x"), hits(0.3, 0.2, 0.1), second)
    assert keys(found) == "acb"
    assert [round(h.score, 3) for h in found] == [0.25, 0.24, 0.2]
    assert [round(h.parts["rerank"], 3) for h in found] == [-0.05, 0.14, 0.0]
    assert [h.rank for h in found] == [1, 2, 3]
    assert missed == 0


def test_a_picture_that_cannot_be_looked_at_keeps_its_score() -> None:
    second = Second(Known({"a": 0.0, "c": 1.0}))
    found, missed = rerank(Query("x"), hits(0.3, 0.2, 0.1), second)
    by_key = {h.item.key: h for h in found}
    assert by_key["b"].score == 0.2
    assert "rerank" not in by_key["b"].parts
    assert missed == 1


def test_only_the_candidates_are_looked_at() -> None:
    known = Known({"a": 0.0, "b": 0.15, "c": 9.0})
    found, _ = rerank(Query("x"), hits(0.3, 0.2, 0.1), Second(known, candidates=2))
    assert known.asked == ["a", "b"]
    assert keys(found) == "bac"


def test_when_the_time_is_over_the_rest_keep_their_order() -> None:
    known = Known({k: n / 100 for n, k in enumerate("abcdefghijklmnopqrstuvwxyz")}, wait_s=0.05)
    second = Second(known, budget_ms=1)
    found, missed = rerank(Query("x"), hits(*np.linspace(0.9, 0.4, 26)), second)
    assert known.asked == list("abcdefghij")  # one batch: the clock is looked at between them
    assert keys(found)[-16:] == "klmnopqrstuvwxyz"
    assert missed == 0


def test_no_time_at_all_changes_nothing() -> None:
    known = Known({"a": 0.0, "b": 1.0})
    found, _ = rerank(Query("x"), hits(0.3, 0.2), Second(known, budget_ms=0))
    assert known.asked == []
    assert found == hits(0.3, 0.2)


def test_scores_of_no_known_worth_are_brought_to_the_spread_of_the_cosines() -> None:
    small, large = ({"a": 0.0, "b": 1.0, "c": 2.0}, {"a": 0.0, "b": 1e3, "c": 2e3})
    of = [rerank(Query("x"), hits(0.3, 0.2, 0.1), Second(Known(s, weight=None)))[0]
          for s in (small, large)]  # fmt: skip
    assert [h.score for h in of[0]] == pytest.approx([h.score for h in of[1]])


def test_a_weight_counts_times_the_rerankers_own_or_times_the_spread() -> None:
    scores = {"a": 0.0, "b": 1.0, "c": 2.0}
    for weight, unit in ((0.5, 0.5), (None, 0.1)):  # spread of 0.3, 0.2, 0.1: a tenth of theirs
        for times in (0.0, 1.0, 3.0):
            second = Second(Known(scores, weight=weight), weight=times)
            found, _ = rerank(Query("x"), hits(0.3, 0.2, 0.1), second)
            gains = {h.item.key: h.parts["rerank"] for h in found}
            assert gains == pytest.approx({"a": -unit * times, "b": 0.0, "c": unit * times})


def test_of_several_parts_each_counts_as_what_it_adds_to_the_score() -> None:
    """What is not wanted is a part whose high scores push down."""
    some = [
        Hit(n, Item(key, "image", key), wanted + unwanted, {"text": wanted, "not": unwanted})
        for n, (key, wanted, unwanted) in enumerate(
            [("a", 3.0, 0.0), ("b", 2.0, 0.5), ("c", 1.0, 1.0)], start=1
        )
    ]

    class Both(Known):
        def score(self, query: Query, items: Sequence[Item]) -> Vectors:
            base = super().score(query, items)
            return base if query.text == "wanted" else -10 * base

    second = Second(Both({"a": 0.0, "b": 1.0, "c": 2.0}, weight=7.0))
    asks = [Ask(Query("wanted"), "text"), Ask(Query("people"), "not", -1.0)]
    found, missed = rerank_asks(asks, some, second)
    gains = {h.item.key: h.parts["rerank"] for h in found}
    # wanted: -1, 0, 1 as its part spreads; unwanted: -(0.5, 0, -0.5)
    assert gains == pytest.approx({"a": -1.5, "b": 0.0, "c": 1.5})
    assert missed == 0


def engine_of(collection: Collection, known: Known, said: list[str]) -> RerankingEngine:
    return RerankingEngine(collection, load_encoder("color"), Second(known), said.append)


def test_pictures_by_a_picture_stay_as_they_were_and_it_is_said_once(
    encoder: Encoder, collection: Collection, photos: Path
) -> None:
    ingest(read(str(photos)), encoder, collection)
    said: list[str] = []
    known = Known({})
    query = Query(image=str(photos / "red.png"), k=3)
    asked = [query, query, Query(parts=(Part(key=str(photos / "red.png")),), k=2)]
    found = engine_of(collection, known, said).search_batch(asked)
    assert found == Engine(collection, encoder).search_batch(asked)
    assert known.asked == []
    assert said == ["pictures are compared with words alone: these hits stay as they were"]


def test_of_words_and_a_picture_the_words_are_looked_at_again(
    encoder: Encoder, collection: Collection, photos: Path
) -> None:
    ingest(read(str(photos)), encoder, collection)
    said: list[str] = []
    known = Known({str(p): float(n) for n, p in enumerate(sorted(photos.glob("**/*.png")))})
    query = Query("red", parts=(Part(image=str(photos / "green.png")),), k=3)
    found = engine_of(collection, known, said).search(query)
    assert sorted(known.asked) == sorted(str(p) for p in photos.glob("**/*.png"))
    assert all({"text", "image", "rerank"} == set(hit.parts) for hit in found)
    assert said == ["pictures are compared with words alone: re-ranked by that part"]


def test_a_stored_text_is_asked_as_words(
    encoder: Encoder, collection: Collection, photos: Path
) -> None:
    (photos / "red.txt").write_text("something red")
    ingest(read(str(photos)), encoder, collection)
    (text,) = collection.search(encoder.encode_texts(["red"]), 1, kind="text")[0]
    said: list[str] = []
    known = Known({str(p): 0.0 for p in photos.glob("**/*.png")})
    engine_of(collection, known, said).search(Query(parts=(Part(key=text.item.key),)))
    assert len(known.asked) == 3
    assert said == []


def test_an_engine_re_ranks_more_than_it_returns(
    encoder: Encoder, collection: object, photos: Path
) -> None:
    ingest(read(str(photos)), encoder, collection)  # type: ignore[arg-type]
    named = {str(photos / n): v for n, v in (("red.png", 0.0), ("green.png", 5.0))}
    known = Known({**named, str(photos / "nested" / "blue.png"): 0.0})
    assert isinstance(known, Reranker)
    engine = RerankingEngine(collection, encoder, Second(known))  # type: ignore[arg-type]
    found = engine.search(Query("red", k=1))
    assert [Path(h.item.key).name for h in found] == ["green.png"]


def test_an_unknown_reranker_is_named() -> None:
    with pytest.raises(UnknownName, match="fusoin"):
        load_reranker("fusoin", "starter")


def test_a_folder_without_a_reranker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="holds no fusion re-ranker"):
        load_reranker(f"fusion:{tmp_path}", "starter")


def test_a_reranker_of_other_tokens_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="reads the tokens of an ONNX model"):
        load_reranker("fusion", "color")
