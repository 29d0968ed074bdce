"""`search`, `batch` and `eval` with a re-ranker of transformers, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from mmsearch import Item, Query
from mmsearch.reranking import load_reranker
from mmsearch.uris import uri_of
from tests.mmsearch.cli.conftest import Mmsearch, Outcome
from tests.mmsearch.rerankers import models

ASKED = "a red cat on a beach"


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.blip(tmp_path_factory.mktemp("blip") / "model")


def hits(done: Outcome) -> list[dict[str, object]]:
    assert done.code == 0, done.err
    found: list[dict[str, object]] = json.loads(done.out)["hits"]
    return found


def names(done: Outcome) -> list[str]:
    return [Path(str(hit["path"])).name for hit in hits(done)]


def test_the_order_is_as_the_scores_say(
    indexed: Mmsearch, mmsearch: Mmsearch, photos: Path, blip: Path
) -> None:
    paths = sorted(photos.glob("**/*.png"))
    items = [Item(str(p), "image", uri_of(p)) for p in paths]
    scores = load_reranker(f"blip:{blip}", "color", device="cpu").score(Query(ASKED), items)
    best = [paths[i].name for i in np.argsort(-scores)]
    call = ("search", ASKED, "--format", "json", "--explain", "--reranker", f"blip:{blip}")
    assert names(indexed(*call, "--rerank-weight", "1000")) == best
    plain = names(indexed("search", ASKED, "--format", "json"))
    assert names(indexed(*call, "--rerank-weight", "0")) == plain
    parts: dict[object, Any] = {h["path"]: h["parts"] for h in hits(indexed(*call))}
    first, told = ({p: of[name] for p, of in parts.items()} for name in ("vector", "rerank"))
    unit = np.std([*first.values()]) / np.std(scores)
    wanted = dict(zip(map(str, paths), unit * (scores - np.median(scores)), strict=True))
    assert told == pytest.approx(wanted, abs=1e-4)


def test_captions_of_a_picture_and_a_batch_are_re_ranked(
    indexed: Mmsearch, photos: Path, blip: Path, tmp_path: Path
) -> None:
    for name in ("green", "blue"):
        (photos / f"{name}.txt").write_text(f"a cat and {name}")
    (photos / "blue.png").write_bytes((photos / "nested" / "blue.png").read_bytes())
    assert indexed("index", photos).code == 0
    call = ("--format", "json", "--reranker", f"blip:{blip}", "--kind", "text", "--explain")
    found = hits(indexed("search", photos / "red.png", *call))
    assert len(found) == 3
    assert all("rerank" in hit["parts"] for hit in found)  # type: ignore[operator]
    (tmp_path / "queries.txt").write_text(f"{photos / 'red.png'}\ncat\n")
    done = indexed("batch", tmp_path / "queries.txt", "--reranker", f"blip:{blip}")
    assert done.code == 0
    assert done.err.count("these hits stay as they were") == 1
    assert len(done.out.splitlines()) == 2


def test_what_is_no_reranker_is_one_line_and_exit_code_4(
    indexed: Mmsearch, blip: Path, tmp_path: Path
) -> None:
    for spec, reason in (
        ("blipp:x", "did you mean 'blip"),
        (f"blip:{tmp_path / 'none'}", "does not exist; write blip:DIR"),
        (f"blip:{tmp_path}", "holds no model that loads"),
        (f"vilt:{blip}", "holds a 'blip' model, not a 'vilt' one"),
    ):
        done = indexed("search", "red", "--reranker", spec)
        assert (done.code, done.out) == (4, ""), spec
        assert reason in done.err
        assert done.err.count("\n") == 1


def test_regions_are_read_from_their_folder_and_checked(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    spec = f"lxmert:{models.lxmert(tmp_path / 'lxmert')}"
    done = indexed("search", "red", "--reranker", spec)
    assert (done.code, done.out) == (2, "")
    assert "give --regions" in done.err
    regions = tmp_path / "regions"
    regions.mkdir()
    for name, size in (("red", (40, 30)), ("green", (80, 60))):
        features = np.full((2, models.WIDTH), len(name))
        np.savez(regions / f"{name}.npz", features=features, boxes=[[0, 0, 9, 9]] * 2, size=size)
    call = ("search", "red", "--reranker", spec, "--regions", regions, "--format", "json")
    found = hits(done := indexed(*call, "--explain"))
    assert "1 of the candidates could not be looked at again" in done.err  # blue.png
    assert sorted("rerank" in h["parts"] for h in found) == [False, True, True]  # type: ignore[operator]
    (regions / "red.npz").rename(regions / "blue.npz")
    np.savez(regions / "red.npz", features=np.ones((1, models.WIDTH)), boxes=[[0, 0, 9, 9]],
             size=(30, 40))  # fmt: skip
    done = indexed(*call)
    assert (done.code, done.out) == (2, "")
    assert "they belong to another picture" in done.err


def test_eval_shows_what_is_gained_both_ways(mmsearch: Mmsearch, photos: Path, blip: Path) -> None:
    pairs = photos / "pairs.csv"
    pairs.write_text("image,caption\nred.png,a red cat\ngreen.png,green\nnested/blue.png,blue\n")
    call = ("eval", pairs, "--model", "color", "--resamples", "20", "--reranker", f"blip:{blip}")
    done = mmsearch(*call, "--rerank-weight", "1000", "--format", "json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["rerank"]
    assert (found["weight"], found["candidates"]) == (1000, 50)
    spec = load_reranker(f"blip:{blip}", "color", device="cpu")
    paths = [photos / n for n in ("red.png", "green.png", "nested/blue.png")]
    items = [Item(str(p), "image", uri_of(p)) for p in paths]
    texts = ["a red cat", "green", "blue"]
    scores = np.stack([spec.score(Query(text), items) for text in texts])
    own = 100 * np.mean(scores.argmax(1) == np.arange(3))
    assert found["text_to_image"]["reranked"]["R@1"] == pytest.approx(own, abs=0.01)
    own = 100 * np.mean(scores.argmax(0) == np.arange(3))
    assert found["image_to_text"]["reranked"]["R@1"] == pytest.approx(own, abs=0.01)
    assert "image -> text" in mmsearch(*call).out


def test_only_so_many_candidates_are_looked_at_and_only_so_long(
    indexed: Mmsearch, blip: Path, tmp_path: Path
) -> None:
    call = ("search", ASKED, "--format", "json", "--explain", "--reranker", f"blip:{blip}")
    plain = names(indexed("search", ASKED, "--format", "json", "--no-rerank"))
    found = hits(indexed(*call, "--rerank", "--candidates", "2", "--rerank-ms", "60000"))
    assert ["rerank" in h["parts"] for h in found].count(True) == 2  # type: ignore[operator]
    assert names(indexed(*call, "--rerank-ms", "0")) == plain
    (tmp_path / "queries.txt").write_text(f"{ASKED}\n")
    bounds = ("--candidates", "2", "--rerank-ms", "60000", "-n", "2", "--format", "json")
    done = indexed("batch", tmp_path / "queries.txt", "--rerank", *call[5:], *bounds)
    (answer,) = json.loads(done.out)["results"]
    alone = hits(indexed("search", ASKED, *call[5:], *bounds))
    assert [h["key"] for h in answer["hits"]] == [h["key"] for h in alone]
    done = indexed("batch", tmp_path / "queries.txt", "--no-rerank", "--format", "paths")
    assert [Path(line).name for line in done.out.splitlines()] == plain
