"""The second stage: what is scored is moved, what is not stays, and the clock is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from index_store import Item
from index_store.types import Vectors
from mmsearch import Encoder, Query, ingest, read
from mmsearch.errors import ModelUnavailable, UnknownName
from mmsearch.reranking import RerankingEngine, Second, load_reranker, rerank
from mmsearch.types import Hit, Reranker


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
