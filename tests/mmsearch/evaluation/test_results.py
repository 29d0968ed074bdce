"""Both ways, comparisons, and where hits are lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from index_store import Compare, Item, Store
from index_store.types import Space, Vectors
from mmsearch import Encoder
from mmsearch.evaluation import (
    compare_models,
    differences,
    embed,
    evaluate_pairs,
    measure,
    rank_relevant,
    read_pairs,
    relevance,
)
from mmsearch.evaluation.datasets import temporary_collection
from mmsearch.evaluation.losses import split_loss
from mmsearch.evaluation.tables import as_text
from tests.mmsearch.conftest import paint
from tests.mmsearch.evaluation.conftest import Backwards, axes, unit


def test_both_ways_by_hand(table: Path, encoder: Encoder) -> None:
    # Captions: red, red, green, blue. Pictures: red, nearly red, green, blue. Both "red"
    # captions point to pure red exactly, so that of red2.png has it at rank 2.
    result, _ = evaluate_pairs(read_pairs(str(table)), encoder, "color", resamples=50)
    there = result.directions["text_to_image"]
    assert there.ranking.first.tolist() == [1, 2, 1, 1]
    assert there.figures["R@1"] == 75
    assert there.figures["mean_rank"] == 1.25
    # Both red captions have the same vector: each picture's own is behind the other's.
    back = result.directions["image_to_text"]
    assert back.ranking.first.tolist() == [2, 2, 1, 1]
    assert back.ties == {1: 2, 5: 0, 10: 0}
    assert any("2 of 4 queries" in note for note in result.as_dict()["notes"])


def test_groups_make_right_what_only_looked_wrong(table: Path, encoder: Encoder) -> None:
    pairs = read_pairs(str(table), merge_captions=True)
    result, _ = evaluate_pairs(pairs, encoder, "color", resamples=20)
    for direction in result.directions.values():
        assert direction.figures["R@1"] == 100
        assert not any(direction.ties.values())


def test_the_json_has_the_documented_shape(table: Path, encoder: Encoder) -> None:
    result, _ = evaluate_pairs(read_pairs(str(table)), encoder, "color", resamples=20)
    found = json.loads(json.dumps(result.as_dict()))
    assert list(found) == [
        "schema", "data", "model", "space", "text_to_image", "image_to_text", "loss", "encode_ms",
        "skipped", "notes",
    ]  # fmt: skip
    assert found["schema"] == 1
    figures = found["text_to_image"]
    assert list(figures)[:10] == list(figures["ci95"])
    assert all(low <= high for low, high in figures["ci95"].values())
    assert figures["queries"] == figures["candidates"] == 4
    exact = found["loss"]["text_to_image"]["exact"]
    assert exact["against"] == "model"
    assert exact["lost"] == {"R@1": 0, "R@5": 0, "R@10": 0}
    assert 0 < exact["latency_ms"]["p50"] <= exact["latency_ms"]["p99"]


def test_a_comparison_says_which_is_better_and_how_sure(table: Path, encoder: Encoder) -> None:
    pairs = read_pairs(str(table))
    found = compare_models(pairs, [encoder, Backwards(encoder)], ["color", "backwards"])
    gap = found.differences["text_to_image"]["R@1"]
    assert gap.difference == -75
    assert gap.clear
    # Only a sample of the red2 caption four times over (1 in 256) has no gap.
    assert 0 < gap.better < 0.02
    whole = found.as_dict()
    assert list(whole) == ["schema", "data", "a", "b", "difference", "skipped", "notes"]
    assert whole["b"]["model"] == "backwards"
    assert "B - A" in as_text(found)


def test_directions_over_different_queries_are_not_compared() -> None:
    one = measure(axes((1, 0)), axes((1, 0)), relevance([[0]]), ["a"], resamples=10)
    two = measure(axes((1, 0)), axes((1, 0)), relevance([[0]]), ["b"], resamples=10)
    with pytest.raises(ValueError, match="same queries"):
        differences(one, two)


def test_a_filter_loses_what_it_hides(table: Path, encoder: Encoder) -> None:
    where = Compare("tone", "=", "cold")
    result, _ = evaluate_pairs(read_pairs(str(table)), encoder, "color", where=where, resamples=20)
    split = result.losses["text_to_image"]
    stages = {stage.name: stage for stage in split.stages}
    assert list(stages) == ["model", "exact", "filter"]
    assert stages["filter"].against == "exact"
    assert stages["filter"].hits[10] == 50  # the two red captions have no picture left
    assert stages["filter"].lost == {1: 25, 5: 50, 10: 50}
    assert split.answerable == 50


@pytest.fixture
def many(store: Store) -> tuple[Store, Vectors, Vectors]:
    """1,000 pictures and a query near each, in 32 dimensions."""
    rng = np.random.default_rng(0)
    images = unit(rng, 1_000, 32)
    queries = images + 0.25 * rng.standard_normal(images.shape).astype(np.float32)
    return store, images, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def test_the_split_tells_the_index_from_the_model(
    many: tuple[Store, Vectors, Vectors],
) -> None:
    store, images, queries = many
    collection = store.create_collection("many", Space("test/1", 32))
    collection.add([Item(f"p{n}") for n in range(len(images))], images)
    # One bit for each of 32 dimensions: coarser than what is built without being asked.
    assert collection.optimize("image", indexes=["rabitq"]).published
    first = rank_relevant(queries, images, relevance([[n] for n in range(1_000)])).first.tolist()
    wanted = [frozenset([f"p{n}"]) for n in range(1_000)]
    found = split_loss(collection, queries, wanted, first, "image", effort=11)
    stages = {stage.name: stage for stage in found.stages}
    assert list(stages) == ["model", "exact", "index"]
    assert stages["exact"].lost == pytest.approx({1: 0, 5: 0, 10: 0}, abs=0.3)  # float16
    # 11 candidates of 1,000 by a coarse code: something is lost, and it is said.
    assert stages["index"].lost is not None
    assert stages["index"].lost[10] > 0.5
    assert stages["index"].hits[10] == stages["exact"].hits[10] - stages["index"].lost[10]


def test_captions_of_pictures_are_also_looked_for_as_search_does(
    tmp_path: Path, encoder: Encoder
) -> None:
    lines = ["image,caption"]
    for n in range(12):
        paint(tmp_path / f"{n}.png", (255, 20 * n, 0))
        lines.append(f"{n}.png,{'a red thing' if n < 6 else 'an orange thing'} {n}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    found, _ = evaluate_pairs(read_pairs(str(tmp_path / "pairs.csv")), encoder, "color")
    assert [s.name for s in found.losses["text_to_image"].stages] == ["model", "exact"]
    *_, fair = found.losses["image_to_text"].stages
    assert fair.name == "hubness"
    assert fair.against == "exact"
    assert fair.hits[10] > 50
    assert "less what is like any picture" in as_text(found)


def test_a_large_set_is_timed_on_a_sample(
    many: tuple[Store, Vectors, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, images, queries = many
    collection = store.create_collection("many", Space("test/1", 32))
    collection.add([Item(f"p{n}") for n in range(len(images))], images)
    monkeypatch.setattr("mmsearch.evaluation.losses.QUERIES", 50)
    wanted = [frozenset([f"p{n}"]) for n in range(1_000)]
    assert split_loss(collection, queries, wanted, [1] * 1_000, "image").queries == 50


def test_the_temporary_collection_is_gone_afterwards(table: Path, encoder: Encoder) -> None:
    embedded = embed(encoder, read_pairs(str(table)))
    with temporary_collection(embedded, encoder) as collection:
        path = collection._path
        assert collection.count("image") == collection.count("text") == 4
        assert path.is_dir()
    assert not path.exists()
