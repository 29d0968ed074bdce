"""Vectors that the oracles and we are both given: random ones, and real ones of the starter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import pytest

from index_store.types import Vectors
from mmsearch.evaluation import Relevance, rank_relevant, relevance
from mmsearch.metrics import Ranking
from tests.conftest import shared_data

PICTURES, CAPTIONS = 120, 5
ORACLES = ("clip_benchmark", "ir_measures", "open_clip_train", "ranx", "sentence_transformers")


@dataclass(frozen=True)
class Case:
    """Queries, candidates and what is relevant, without ties at any rank."""

    queries: Vectors
    candidates: Vectors
    relevant: Relevance

    @cached_property
    def scores(self) -> Vectors:
        return self.queries @ self.candidates.T

    @cached_property
    def ranking(self) -> Ranking:
        return rank_relevant(self.queries, self.candidates, self.relevant, strip_bytes=8_192)

    @cached_property
    def positive(self) -> np.ndarray:
        """(queries, candidates), True where relevant."""
        mask = np.zeros(self.scores.shape, np.bool_)
        query = np.repeat(np.arange(len(self.relevant)), np.diff(self.relevant.starts))
        mask[query, self.relevant.candidates] = True
        return mask

    def qrels(self) -> dict[str, dict[str, int]]:
        grades = self.relevant.grades.astype(int)
        return {
            f"q{q}": {
                f"c{self.relevant.candidates[n]}": int(grades[n])
                for n in range(self.relevant.starts[q], self.relevant.starts[q + 1])
            }
            for q in range(len(self.relevant))
        }

    def run(self) -> dict[str, dict[str, float]]:
        return {
            f"q{q}": {f"c{c}": float(s) for c, s in enumerate(row)}
            for q, row in enumerate(self.scores)
        }


def paired(images: Vectors, texts: Vectors, *, back: bool) -> Case:
    """Return text->image, or image->text, where each picture has CAPTIONS texts in order."""
    owner = np.arange(len(texts)) // CAPTIONS
    if not back:
        return Case(texts, images, relevance([[int(p)] for p in owner]))
    rows = [range(p * CAPTIONS, (p + 1) * CAPTIONS) for p in range(len(images))]
    return Case(images, texts, relevance(rows))


def random_vectors() -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((PICTURES, 32))
    texts = np.repeat(images, CAPTIONS, axis=0)
    texts = texts + 1.8 * rng.standard_normal(texts.shape)
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    return one.astype(np.float32), two.astype(np.float32)


def real_vectors() -> tuple[Vectors, Vectors]:
    """Return vectors of Flickr8k test pictures and their captions by the starter model."""
    from mmsearch import load_encoder
    from mmsearch.encoders import STARTER
    from mmsearch.evaluation import embed, read_pairs

    data = shared_data("flickr8k")
    if not any(find_spec(name) for name in ORACLES) and "MMSEARCH_REQUIRE_EXTRAS" not in os.environ:
        pytest.skip("no oracle is installed")  # before half a minute of embedding
    if not (STARTER / "config.json").is_file():
        pytest.skip("the starter model is not in this checkout")
    pairs = read_pairs(str(data / "dataset.json"))
    embedded = embed(
        load_encoder("starter"), pairs.without(range(PICTURES, len(pairs.pictures)), [])
    )
    return embedded.images, embedded.texts


@pytest.fixture(scope="session", params=["random", "real"])
def vectors(request: pytest.FixtureRequest) -> tuple[Vectors, Vectors]:
    return random_vectors() if request.param == "random" else real_vectors()


@pytest.fixture(params=["text->image", "image->text"])
def case(request: pytest.FixtureRequest, vectors: tuple[Vectors, Vectors]) -> Case:
    found = paired(*vectors, back=request.param == "image->text")
    assert (found.ranking.luckiest == found.ranking.first).all(), "tied: the oracles would differ"
    return found


@pytest.fixture
def graded(vectors: tuple[Vectors, Vectors]) -> Case:
    """Text->image with up to eight relevant pictures each, graded 1 to 3."""
    images, texts = vectors
    rng = np.random.default_rng(1)
    rows = []
    for text in range(len(texts)):
        others = rng.choice(len(images), rng.integers(1, 8), replace=False)
        rows.append({int(p): float(rng.integers(1, 4)) for p in others} | {text // CAPTIONS: 3.0})
    return Case(texts, images, relevance(rows))
