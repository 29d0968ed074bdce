"""`--rerank-cache`: the second question answers as the first, and looks at no picture again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index_store import Store
from mmsearch import Engine, Query, load_encoder
from mmsearch.rerankers import token_cache
from mmsearch.reranking import RerankingEngine, Second, load_reranker
from tests.mmsearch.cli.conftest import Mmsearch, Outcome
from tests.mmsearch.conftest import paint

ASKED = "somebody with a camera"
CALL = ("--rerank", "--format", "json", "--explain", "-n", "14")


def scores(done: Outcome) -> list[tuple[str, float]]:
    assert done.code == 0, done.err
    return [(h["key"], h["score"]) for h in json.loads(done.out)["hits"]]


def entries() -> list[Path]:
    return sorted(p for p in token_cache.folder().rglob("*") if p.is_file())


def test_real_pictures_are_ranked_alike_with_and_without_the_cache(real: Mmsearch) -> None:
    plain = scores(real("search", ASKED, *CALL, "--rerank-cache", "0"))
    assert entries() == []
    first = scores(real("search", ASKED, *CALL))
    made = {path: path.stat().st_ino for path in entries()}
    assert len(made) == 14
    again = scores(real("search", ASKED, *CALL))
    assert plain == first == again
    assert {path: path.stat().st_ino for path in entries()} == made  # nothing was written anew
    done = real("doctor", "--format", "json")
    (check,) = (c for c in json.loads(done.out)["checks"] if c["name"] == "re-ranking cache")
    assert check["found"].startswith("14 pictures, 0.00 GB in ")


def test_known_pictures_need_no_picture_tower(real: Mmsearch, real_store: Path) -> None:
    with Store.open(real_store, readonly=True) as store:
        collection = store.collection("default")
        encoder = load_encoder("starter", threads=1)
        found: list[Any] = []
        for _ in range(2):
            cache = token_cache.TokenCache(100_000_000)
            fusion: Any = load_reranker("fusion", "starter", threads=1, cache=cache)
            engine = RerankingEngine(collection, encoder, Second(fusion))
            found.append((engine.search(Query(ASKED, k=14)), fusion._tokens._visual is None))
    (first, loads), (again, spared) = found
    assert first == again
    assert (loads, spared) == (False, True)


@pytest.fixture
def blip(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.mmsearch.rerankers import models

    return models.blip(tmp_path / "blip")


def test_the_limit_is_a_setting_a_variable_and_an_option(
    indexed: Mmsearch, blip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("search", "a cat", "--reranker", f"blip:{blip}", "--format", "json")
    assert indexed("config", "set", "rerank-cache", "0").code == 0
    plain = scores(indexed(*call))
    assert entries() == []
    monkeypatch.setenv("MMSEARCH_RERANK_CACHE", "0.000000001")  # a byte: nothing fits
    assert scores(indexed(*call)) == plain
    assert entries() == []
    assert scores(indexed(*call, "--rerank-cache", "0.001")) == plain
    assert len(entries()) == 3
    monkeypatch.setenv("MMSEARCH_RERANK_CACHE", "-1")
    assert indexed(*call).code == 2


def test_batch_and_eval_take_and_leave_tokens(
    indexed: Mmsearch, blip: Path, photos: Path, tmp_path: Path
) -> None:
    spec = ("--reranker", f"blip:{blip}")
    (tmp_path / "queries.txt").write_text("a cat\ndogs\n")
    batch = ("batch", tmp_path / "queries.txt", *spec, "--format", "json", "--rerank-cache", "1")
    first = indexed(*batch)
    made = entries()
    assert (first.code, len(made)) == (0, 3)
    paint(photos / "more.png", "yellow")
    pairs = photos / "pairs.csv"
    pairs.write_text("image,caption\nred.png,a red cat\ngreen.png,green\nmore.png,a dog\n")
    done = indexed("eval", pairs, "--model", "color", "--resamples", "20", *spec)
    assert done.code == 0, done.err
    assert len(entries()) == 4  # those of `batch` are known by their bytes
    call = ("eval", pairs, "--model", "color", "--resamples", "20", "--format", "json", *spec)
    with_, without = (json.loads(indexed(*call, "--rerank-cache", x).out)["rerank"] for x in "20")
    for way in ("text_to_image", "image_to_text"):
        assert with_[way]["reranked"] == without[way]["reranked"]
    assert json.loads(indexed(*batch).out)["results"] == json.loads(first.out)["results"]


def test_a_cache_that_cannot_be_written_is_one_line_and_the_search_goes_on(
    indexed: Mmsearch, blip: Path
) -> None:
    call = ("search", "a cat", "--reranker", f"blip:{blip}", "--format", "json")
    plain = scores(indexed(*call, "--rerank-cache", "0"))
    folder = token_cache.folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    done = indexed(*call)
    assert scores(done) == plain
    assert done.err.count("\n") == 1
    assert "picture tokens are not kept for later questions" in done.err


class Looks:
    """Counts the pictures that a vision tower looks at, and makes each take a while."""

    def __init__(self, reranker: Any, wait_s: float = 0.0) -> None:
        self.looked, self._wait_s = 0, wait_s
        tower = reranker._matcher.loaded.model.vision_model
        tower.register_forward_pre_hook(self._look, with_kwargs=True)

    def _look(self, _tower: Any, _args: Any, given: dict[str, Any]) -> None:
        import time

        self.looked += len(given["pixel_values"])
        time.sleep(self._wait_s * len(given["pixel_values"]))


@pytest.fixture
def many(indexed: Mmsearch, photos: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine over 43 pictures."""
    for n in range(40):
        paint(photos / f"{n}.png", (6 * n, 100, 255 - 5 * n))
    assert indexed("index", photos).code == 0
    with Store.open(tmp_path / "store", readonly=True) as store:
        yield Engine(store.collection("default"), load_encoder("color"))


def test_within_a_budget_more_candidates_are_looked_at_the_second_time(
    many: Engine, blip: Path
) -> None:
    told = []
    for _ in range(3):
        cache = token_cache.TokenCache(100_000_000)
        reranker = load_reranker(f"blip:{blip}", "color", threads=1, device="cpu", cache=cache)
        looks = Looks(reranker, wait_s=0.1)
        second = Second(reranker, candidates=40, budget_ms=900)
        hits = RerankingEngine(many.collection, many.encoder, second).search(Query("red", k=43))
        told.append((sum("rerank" in hit.parts for hit in hits), looks.looked))
    # Ten take a second; the clock is looked at after each ten.
    assert told == [(10, 10), (20, 10), (30, 10)]


def test_blips_patches_give_the_same_scores_from_the_disk(many: Engine, blip: Path) -> None:
    def found(cache: token_cache.TokenCache | None) -> tuple[list[Any], int]:
        reranker = load_reranker(f"blip:{blip}", "color", threads=1, device="cpu", cache=cache)
        looks, second = Looks(reranker), Second(reranker)
        engine = RerankingEngine(many.collection, many.encoder, second)
        return engine.search(Query("a cat on a beach", k=43)), looks.looked

    without, _ = found(None)
    first, looked = found(token_cache.TokenCache(100_000_000))
    again, then = found(token_cache.TokenCache(100_000_000))
    assert without == first == again
    assert (looked, then) == (43, 0)


def test_numbers_of_half_precision_come_back_as_they_were(many: Engine, blip: Path) -> None:
    """bfloat16, as on a GPU; and float32 that has numbers too large for float16."""
    import torch

    from mmsearch.rerankers.patches import compact
    from mmsearch.rerankers.places import place_of_item

    kept = []
    places = [place_of_item(hit.item) for hit in many.search(Query("red", k=5))]
    for _ in range(2):
        cache = token_cache.TokenCache(100_000_000)
        reranker: Any = load_reranker(f"blip:{blip}", "color", threads=1, device="cpu", cache=cache)
        looks = Looks(reranker)
        model = reranker._matcher.loaded.model.to(torch.bfloat16)
        assert model.dtype == torch.bfloat16
        reranker._eye._recall._model += "bfloat16"
        with torch.inference_mode():
            kept.append(([row["patches"] for row in reranker._eye(places)], looks.looked))
    (first, looked), (again, then) = kept
    assert (looked, then) == (5, 0)
    assert {one.dtype for one in (*first, *again)} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    large, small = torch.tensor([1.0, 70_000.0]), torch.tensor([1.0, 60_000.0])
    assert compact(large).dtype == torch.float32
    assert compact(small).dtype == torch.float16
