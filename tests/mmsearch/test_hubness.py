"""Captions found by a picture, less what they are like any picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Compare, Item, Space, Store
from index_store.types import Kind, Vectors
from mmsearch import Encoder, Engine, Query, ingest, read
from mmsearch.hubness import HALF, SHARPNESS, WEIGHT, Hubness, hubness_of
from mmsearch.search import neighbours
from mmsearch.types import Hit, Part

N, GROUPS, DIM = 400, 20, 32
KINDS: tuple[tuple[str, Kind], ...] = (("p", "image"), ("t", "text"))


def unit(rows: Vectors) -> Vectors:
    made: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def rows() -> tuple[Vectors, Vectors]:
    """Pictures of some groups; a caption of each, and then one of each group, which is a hub."""
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((GROUPS, DIM))
    pictures = unit(groups[np.arange(N) % GROUPS] + rng.standard_normal((N, DIM)))
    captions = unit(4 * pictures + rng.standard_normal((N, DIM)))
    return pictures, np.concatenate([captions, unit(groups)])


@pytest.fixture
def held(store: Store, rows: tuple[Vectors, Vectors]) -> Collection:
    collection = store.create_collection("hubs", Space("made", DIM))
    pictures, texts = ([Item(f"{name}{n}", kind, text=f"{n}" * (kind == "text"), meta={"n": n})
         for n in range(len(some))]
        for (name, kind), some in zip(KINDS, rows, strict=True)
    )  # fmt: skip
    collection.add([*pictures, *texts], np.concatenate(rows))
    return collection


class Made:
    """An encoder of the collection's space that nothing is asked of."""

    space, image_size = Space("made", DIM), 8

    prepare = encode_images = encode_texts = None


@pytest.fixture
def engine(held: Collection) -> Engine:
    return Engine(held, Made())  # type: ignore[arg-type]


def hubs(found: list[list[str]]) -> float:
    return sum(int(keys[0][1:]) >= N for keys in found) / len(found)


def first_right(found: list[list[str]]) -> float:
    return sum(keys[0] == f"t{n}" for n, keys in enumerate(found)) / len(found)


def asked(key: str, k: int = 5, **more: object) -> Query:
    return Query(parts=(Part(key=key),), k=k, kind="text", **more)  # type: ignore[arg-type]


def test_hubness_is_the_log_of_the_mean_over_the_bank_as_the_module_says() -> None:
    rng = np.random.default_rng(1)
    pictures, texts = (unit(rng.standard_normal((n, 5))) for n in (7, 9))
    got = Hubness(pictures, texts)(texts)
    cosines = texts.astype(float) @ pictures.T.astype(float)
    sharp = SHARPNESS / cosines.std()
    plain = np.log(np.exp(sharp * cosines).mean(1)) / sharp
    assert np.allclose(got, WEIGHT * 7 / (7 + HALF) * (plain - plain.mean()), atol=1e-6)


def test_captions_that_are_like_every_picture_come_up_less(
    held: Collection, engine: Engine, rows: tuple[Vectors, Vectors]
) -> None:
    plain = [[m.item.key for m in found] for found in held.search(rows[0], 5, kind="text")]
    hits = engine.search_batch([asked(f"p{n}") for n in range(N)])
    fair = [[h.item.key for h in found] for found in hits]
    assert first_right(plain) < 0.25 < 0.45 < first_right(fair)
    assert hubs(plain) > 0.75 > 0.45 > hubs(fair)


def test_the_parts_of_a_score_are_its_sum_and_the_cosine_is_one(
    held: Collection, engine: Engine, rows: tuple[Vectors, Vectors]
) -> None:
    hits = engine.search(asked("p3"))
    for hit in hits:
        row = rows[1][int(hit.item.key[1:])]
        assert hit.parts["vector"] == pytest.approx(float(row @ rows[0][3]), abs=2e-3)
        assert hit.score == pytest.approx(sum(hit.parts.values()))
    assert [h.rank for h in hits] == [1, 2, 3, 4, 5]
    assert sorted((h.score for h in hits), reverse=True) == [h.score for h in hits]


def test_fewer_hits_are_the_first_of_more_and_a_cut_off_is_for_the_score(engine: Engine) -> None:
    many = engine.search(asked("p3", 50))
    assert engine.search(asked("p3", 5)) == many[:5]
    least = many[2].score
    assert engine.search(asked("p3", 50, min_score=least)) == many[:3]


def test_a_filter_holds(engine: Engine) -> None:
    hits = engine.search(asked("p3", 5, where=Compare("n", ">=", 200)))
    assert len(hits) == 5
    assert all(int(h.item.key[1:]) >= 200 for h in hits)


def test_similar_answers_as_search_does(held: Collection, engine: Engine) -> None:
    def plain(hits: list[Hit]) -> list[tuple[str, float]]:
        return [(h.item.key, round(h.score, 5)) for h in hits]

    assert plain(neighbours(held, "p9", 5, kind="text")) == plain(engine.search(asked("p9")))


def test_texts_by_texts_and_pictures_by_pictures_are_plain_cosines(
    held: Collection, engine: Engine
) -> None:
    for key, kind in (("t4", "text"), ("p4", "image"), ("t4", "image")):
        hits = engine.search(Query(parts=(Part(key=key),), kind=kind))  # type: ignore[arg-type]
        assert all(h.parts == {"vector": h.score} for h in hits)
        assert all(set(h.parts) == {"vector"} for h in neighbours(held, key, 5, kind=kind))  # type: ignore[arg-type]


def test_what_is_added_counts_from_then_on(held: Collection, engine: Engine) -> None:
    before = engine.search(asked("p3", 1))[0]
    held.add([Item("more", "text", text="more")], unit(np.ones((1, DIM))))
    assert engine.search(asked("p3", 1))[0].item == before.item
    held.delete(["t3"])
    assert "t3" not in {h.item.key for h in engine.search(asked("p3"))}


def test_too_few_to_tell_is_a_plain_search(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "red.txt").write_text("something red")
    ingest(read(str(photos)), encoder, collection)
    assert hubness_of(collection) is None
    (hit,) = Engine(collection, encoder).search(Query(image=str(photos / "red.png"), kind="text"))
    assert hit.parts == {"vector": hit.score}
