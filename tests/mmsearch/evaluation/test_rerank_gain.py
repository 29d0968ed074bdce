"""What a re-ranker gains, both ways: by a re-ranker whose scores are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Encoder, Item, Query
from mmsearch.evaluation import read_pairs
from mmsearch.evaluation.datasets import temporary_collection
from mmsearch.evaluation.embedding import Embedded, embed
from mmsearch.evaluation.pairs import Pairs
from mmsearch.evaluation.rerank_gain import RerankGain, rerank_gain
from mmsearch.hubness import Hubs, captions_of
from mmsearch.reranking import Second
from mmsearch.stored_rows import Samples
from mmsearch.types import Sample, Vectors
from tests.mmsearch.evaluation.conftest import Backwards


@dataclass
class Names:
    """Scores 1 where the picture's file has the first word of the text that is a colour."""

    weight: float | None = 10.0
    name: str = "names"
    calls: int = 0

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        self.calls += 1
        pairs = (
            (query.text, Path(i.key).stem) if query.text is not None
            else (i.text, Path(str(query.image)).stem)
            for i in items
        )  # fmt: skip
        return np.array([float(stem[:3] in str(text)) for text, stem in pairs], np.float32)


def gain(table: Path, encoder: Encoder, reranker: Names, **bounds: float) -> RerankGain:
    embedded = embed(Backwards(encoder), read_pairs(str(table), group="tone"))  # type: ignore[arg-type]
    second = Second(reranker, candidates=4, **bounds)  # type: ignore[arg-type]
    return rerank_gain(embedded, second, resamples=50)


def test_both_ways_are_measured_over_the_same_queries(table: Path, encoder: Encoder) -> None:
    """The encoder has it the wrong way round: the wrong colours first, each time."""
    found = gain(table, encoder, Names())
    for way in (found.text_to_image, found.image_to_text):
        assert way.queries == 4
        assert way.reranked[1] == 100
        assert way.without[1] < 100
        assert way.change[1][0] == pytest.approx(100 - way.without[1])
        assert way.change[1][1] <= way.change[1][0] <= way.change[1][2]
        assert way.by_weight[1.0] == 100
    told = found.as_dict()
    assert told["image_to_text"]["reranked"]["R@1"] == 100
    assert told["text_to_image"]["R@1_by_weight"]["1"] == 100
    assert "image -> text" in found.as_text()


def test_other_weights_cost_no_further_look(table: Path, encoder: Encoder) -> None:
    reranker = Names()
    found = gain(table, encoder, reranker)
    assert reranker.calls == 8  # one batch of candidates a query
    nothing = gain(table, encoder, Names(), weight=0.0)
    for way, none in (
        (found.text_to_image, nothing.text_to_image),
        (found.image_to_text, nothing.image_to_text),
    ):
        assert none.reranked == none.without == way.without
        assert none.by_weight[0.0] == way.without[1]
        assert none.change[1] == (0, 0, 0)


def test_pictures_of_one_group_answer_one_another(table: Path, encoder: Encoder) -> None:
    """By its name blue.png is best for "green" too; they are of one group, so that is right."""

    class Blue(Names):
        def score(self, query: Query, items: Sequence[Item]) -> Vectors:
            return np.array([float("blue" in i.key) for i in items], np.float32)

    embedded = embed(encoder, read_pairs(str(table), group="tone"))
    found = rerank_gain(embedded, Second(Blue(weight=100.0), 4), resamples=50)
    assert found.text_to_image.reranked[1] == 50  # of "green" and "blue"


def test_captions_of_a_picture_are_the_candidates_that_a_search_has(encoder: Encoder) -> None:
    """60 pictures of 6 groups, each with a caption; one of each group has its hub as another."""
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((6, 4)).astype(np.float32)
    images = unit_rows(groups[np.arange(60) % 6] + rng.standard_normal((60, 4)))
    texts = unit_rows(np.concatenate([4 * images + rng.standard_normal((60, 4)), groups]))
    owners = tuple((n % 60,) for n in range(66))
    pictures = tuple(Sample(Item(f"{n}.png", uri=f"file:///{n}.png")) for n in range(60))
    names = tuple(f"picture {n}" for n in range(60))
    pairs = Pairs("made", pictures, tuple(map(str, range(66))), owners, names)
    embedded = Embedded(pairs, images, texts)
    way = rerank_gain(embedded, Second(Names(), 4, weight=0.0), resamples=50).image_to_text
    with temporary_collection(embedded, encoder) as collection:
        found = captions_of(collection, images, 4, Hubs(Samples(collection)))
        plain = collection.search(images, 4, kind="text")
    firsts = [{f"t{n}", f"t{n + 60}"} for n in range(60)]
    hits = [own[0].item.key in right for own, right in zip(found, firsts, strict=True)]
    assert way.without[1] == way.reranked[1] == pytest.approx(100 * np.mean(hits))
    by_cosine = [own[0].item.key in right for own, right in zip(plain, firsts, strict=True)]
    assert np.mean(hits) != np.mean(by_cosine)


def unit_rows(rows: Vectors) -> Vectors:
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made
