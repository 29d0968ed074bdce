"""An honest "there is nothing"."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Item
from mmsearch import Encoder, Engine, Part, Query, Store, load_encoder
from mmsearch.cutoff import BANK, bank_vectors, gumbel_quantile
from mmsearch.errors import BadQuery
from mmsearch.images import open_picture
from tests.conftest import shared_data
from tests.mmsearch.conftest import paint

ABSENT = Path(__file__).parents[2] / "benchmarks" / "absent.txt"


def lines(path: Path) -> list[str]:
    return [x for x in path.read_text("utf8").splitlines() if x and not x.startswith("#")]


def test_the_quantile_is_gumbels_even_if_the_collection_holds_some_of_what_is_asked() -> None:
    maxima = np.random.default_rng(3).gumbel(0.3, 0.05, 20_000)
    exact = 0.3 + 0.05 * 2.2504  # -ln(-ln 0.9)
    assert gumbel_quantile(maxima.tolist(), 0.9) == pytest.approx(exact, abs=0.003)
    held = np.sort(maxima)
    held[12_000:] += 0.4  # four in ten are there, and score high
    assert gumbel_quantile(held.tolist(), 0.9) == pytest.approx(exact, abs=0.003)


def test_the_bank_and_the_questions_that_measure_it_share_nothing() -> None:
    bank, absent = lines(BANK), lines(ABSENT)
    assert len(set(bank)) == len(bank) >= 100
    assert not {*bank} & {*absent}


def test_the_bank_is_embedded_once_and_a_damaged_cache_is_made_anew(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = bank_vectors(encoder)
    (kept,) = (tmp_path / "mmsearch" / "cutoff").iterdir()
    before = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(bank_vectors(encoder), rows)
    assert kept.stat().st_mtime_ns == before
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(bank_vectors(encoder), rows)
    np.testing.assert_array_equal(np.load(kept), rows)


def test_the_shipped_model_is_one_that_was_measured() -> None:
    from mmsearch.cutoff import MEASURED

    assert load_encoder("starter", threads=1, towers="text").space.name in MEASURED


def test_a_number_cuts_off_what_scores_less(
    encoder: Encoder, collection: Collection, tmp_path: Path
) -> None:
    paths = [paint(tmp_path / f"{c}.png", c) for c in ("red", "orange", "blue")]
    arrays = np.stack([encoder.prepare(open_picture(p).image) for p in paths])
    collection.add([Item(p.stem) for p in paths], encoder.encode_images(arrays))
    engine = Engine(collection, encoder)
    hits = engine.search(Query("red"))
    assert len(hits) == 3
    cut = engine.search(Query("red", min_score=hits[1].score))
    assert cut == hits[:2]
    assert engine.search(Query("red", min_score=2.0)) == []
    # Of so few pictures nothing can be said: no cut-off.
    assert engine.search(Query("red", min_score="auto")) == hits


@pytest.mark.parametrize(
    "query",
    [
        Query("red", kind="text", min_score="auto"),
        Query("red", parts=(Part("blue"),), min_score="auto"),
        Query(image="x.png", min_score="auto"),
    ],
)
def test_auto_is_for_pictures_by_one_text(
    encoder: Encoder, collection: Collection, tmp_path: Path, query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "x.png", "red")
    with pytest.raises(BadQuery, match="give a number"):
        Engine(collection, encoder).search(query)


def test_on_real_photographs_most_of_what_is_there_is_found_and_of_what_is_not_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data("flickr8k")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = json.loads((folder / "dataset.json").read_text("utf8"))["images"]
    images = [i for i in images if i["split"] == "test"][:120]
    encoder = load_encoder("starter", threads=1)
    collection = store.create_collection("real", encoder.space, model="starter")
    for start in range(0, len(images), 24):
        part = images[start : start + 24]
        arrays = [encoder.prepare(open_picture(folder / i["filename"], target=224).image)
                  for i in part]  # fmt: skip
        vectors = encoder.encode_images(np.stack(arrays))
        collection.add([Item(i["filename"]) for i in part], vectors)
    engine = Engine(collection, encoder)

    def answered(texts: list[str]) -> float:
        asked = [Query(text, k=1, min_score="auto") for text in texts]
        return float(np.mean([bool(hits) for hits in engine.search_batch(asked)]))

    assert answered([i["sentences"][0]["raw"] for i in images]) > 0.85
    assert answered(lines(ABSENT)[:60]) < 0.25
