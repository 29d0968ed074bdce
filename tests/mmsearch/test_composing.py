"""Questions of several parts: no part outweighs the others for its kind alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Exists
from mmsearch import Encoder, Engine, Part, Query, ingest, load_encoder, read
from mmsearch.composing import background, blend
from mmsearch.errors import BadQuery
from mmsearch.images import open_picture
from mmsearch.types import Hit, Vectors
from tests.mmsearch.conftest import paint

COLORS = {"red": "red", "green": (0, 255, 0), "blue": "blue", "yellow": "yellow",
          "purple": (128, 0, 128), "black": "black", "white": "white", "orange": "orange",
          "gray": "gray"}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path, encoder: Encoder, collection: Collection) -> Engine:
    for name, color in COLORS.items():
        paint(tmp_path / "photos" / f"{name}.png", color)
    ingest(read(str(tmp_path / "photos")), encoder, collection)
    return Engine(collection, encoder)


def names(hits: list[Hit]) -> list[str]:
    return [Path(h.item.key).stem for h in hits]


def key(engine: Engine, name: str) -> str:
    (found,) = [k for k in engine.collection.keys(Exists("width")) if Path(k).stem == name]
    return found


def test_a_text_and_a_picture_find_what_is_like_both(engine: Engine, tmp_path: Path) -> None:
    picture = str(paint(tmp_path / "q.png", "red"))
    hits = engine.search(Query("blue", parts=(Part(image=picture),), k=9))
    assert {"purple", "blue"} <= set(names(hits)[:3])
    assert "purple" not in names(engine.search(Query(image=picture, k=2)))


def test_what_is_not_wanted_goes_down(engine: Engine) -> None:
    whole = engine.search(Query("yellow", k=9))
    without = engine.search(Query("yellow", parts=(Part("red", weight=-1.0),), k=9))
    assert names(whole).index("red") < names(without).index("red")
    assert names(without)[0] in {"yellow", "green"}


def test_the_score_is_the_sum_of_its_parts_and_ranks_the_hits(engine: Engine) -> None:
    parts = (Part(image=str(key(engine, "red"))), Part("black", weight=-0.5), Part("orange"))
    hits = engine.search(Query("yellow", parts=parts, k=9))
    assert list(hits[0].parts) == ["text", "image", "not", "text 2"]
    for hit in hits:
        assert hit.score == pytest.approx(sum(hit.parts.values()), abs=1e-9)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    # Over the whole collection each part has mean 0, and its weight as deviation.
    for name, weight in zip(hits[0].parts, (1, 1, 0.5, 1), strict=True):
        values = [h.parts[name] for h in hits]
        assert np.mean(values) == pytest.approx(0, abs=1e-3)
        assert np.std(values) == pytest.approx(weight, abs=1e-3)


def test_a_stored_item_is_a_part_and_no_hit(engine: Engine) -> None:
    hits = engine.search(Query(parts=(Part(key=key(engine, "red")),), k=9))
    assert "red" not in names(hits)
    assert len(hits) == 8
    assert hits[0].parts == {"vector": hits[0].score}  # one part: its cosine, as it is
    liked = engine.search(
        Query("blue", parts=(Part(key=key(engine, "red"), weight=-0.3, name="unlike"),), k=9)
    )
    assert list(liked[0].parts) == ["text", "unlike"]


def test_composed_and_plain_queries_of_a_batch_are_answered_as_alone(engine: Engine) -> None:
    queries = [
        Query("red"), Query("red", parts=(Part("blue"),)), Query("blue"),
        Query("green", parts=(Part(key=key(engine, "red")),), k=3),
    ]  # fmt: skip
    assert engine.search_batch(queries) == [engine.search(q) for q in queries]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query("red", parts=(Part("red", weight=-1.0),)), "cancel out"),
        (Query("red", parts=(Part(),)), "one of the three"),
        (Query("red", parts=(Part("a", key="b"),)), "one of the three"),
        (Query("red", parts=(Part("  "),)), "empty"),
        (Query("red", parts=(Part("blue", weight=0.0),)), "weight 0"),
        (Query("red", parts=(Part("blue", weight=float("nan")),)), "weight nan"),
        (Query("red", parts=(Part(key="/no/such"),)), "no item /no/such"),
    ],
)
def test_parts_that_make_no_question_are_refused(
    engine: Engine, query: Query, message: str
) -> None:
    with pytest.raises(BadQuery, match=message):
        engine.search(query)


def test_a_background_of_few_or_equal_vectors_leaves_cosines_as_they_are() -> None:
    row = np.array([1, 0], np.float32)
    assert background(row, np.eye(2, dtype=np.float32)).deviation == 1
    assert background(row, np.tile(row, (20, 1))).deviation == 1


# -- real pictures -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> tuple[Vectors, Vectors, Vectors]:
    """Vectors of free photographs, of texts about them, and the photographs again as queries."""
    pytest.importorskip("skimage")
    from mmsearch.photos import PHOTOS, photos_folder

    encoder = load_encoder("starter", threads=1)
    images = [open_picture(photos_folder() / name).image for name in PHOTOS]
    stored = encoder.encode_images(np.stack([encoder.prepare(i) for i in images]))
    crops = [i.crop((0, 0, i.width * 2 // 3, i.height * 2 // 3)) for i in images]
    asked = encoder.encode_images(np.stack([encoder.prepare(i) for i in crops]))
    texts = ["a smiling woman", "a brick wall", "a man with a camera", "a cat", "a clock",
             "a cup of coffee", "coins", "grass", "stones", "stars", "the moon", "a motorbike",
             "an eye", "a rocket launch"]  # fmt: skip
    return stored, encoder.encode_texts(texts), asked


def agreement(rows: Vectors, vector: Vectors, stored: Vectors) -> tuple[float, float]:
    """Return how the ranking by `vector` correlates with the text's, and with the picture's."""
    whole = stored @ vector
    text, picture = (float(np.corrcoef(whole, stored @ row)[0, 1]) for row in rows)
    return text, picture


def test_the_picture_does_not_dominate_the_text_on_real_pictures(
    real: tuple[Vectors, Vectors, Vectors],
) -> None:
    """Even where a model's texts lie in a narrow range of their own, as most models' do.

    The starter has no such gap, so one is made: what all texts share, and no picture has.
    """
    stored, texts, asked = real
    stored = np.pad(stored, ((0, 0), (0, 1)))
    asked = np.pad(asked, ((0, 0), (0, 1)))
    gap = np.zeros(stored.shape[1], np.float32)
    gap[-1] = 1
    narrow = 0.15 * np.pad(texts, ((0, 0), (0, 1))) + np.sqrt(1 - 0.15**2) * gap
    summed, standardised = [], []
    for n in range(len(texts)):
        rows = np.stack([narrow[n], asked[(n + 5) % len(asked)]]).astype(np.float32)
        summed.append(agreement(rows, rows.sum(axis=0), stored))
        blended = blend(rows, [1, 1], ["text", "image"], stored)
        assert blended is not None
        standardised.append(agreement(rows, blended.vector, stored))
    text, picture = np.mean(summed, axis=0)
    assert picture - text > 0.4  # summing vectors: the picture decides
    text, picture = np.mean(standardised, axis=0)
    assert abs(picture - text) < 0.02  # in deviations: both count alike
    assert min(text, picture) > 0.5
