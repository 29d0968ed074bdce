"""Captions found by a picture, less what they are like any picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Compare, Item, Space, Store
from index_store.types import Kind, Vectors
from mmsearch import Encoder, Engine, Query, ingest, read
from mmsearch.hubness import HALF, SHARPNESS, WEIGHT, Hubness, Hubs
from mmsearch.hybrid import lexicon_of, search_hybrid_batch
from mmsearch.search import neighbours
from mmsearch.stored_rows import Samples
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


class Asked(Made):
    """Whose texts are the numbers of given rows."""

    def __init__(self, rows: Vectors) -> None:
        self._rows = rows

    def encode_texts(self, texts: list[str]) -> Vectors:  # type: ignore[override]
        return self._rows[[int(text) for text in texts]]


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


def test_hybrid_search_takes_it_off_pictures_and_their_captions(
    store: Store, rows: tuple[Vectors, Vectors]
) -> None:
    rng = np.random.default_rng(3)
    pictures = rows[0]
    captions, asked = (unit(9 * pictures + rng.standard_normal((N, DIM))) for _ in "12")
    collection = store.create_collection("both", Space("made", DIM))
    texts = [Item(f"t{n}", "text", text="_", meta={"picture": f"p{n}"}) for n in range(N)]
    collection.add([Item(f"p{n}") for n in range(N)], pictures)
    collection.add(texts, captions)
    engine = Engine(collection, Asked(asked))
    found = search_hybrid_batch(
        engine, lexicon_of(collection), [Query(str(n), k=5) for n in range(N)]
    )
    got = [[h.item.key for h in hits] for hits in found]

    def best(*cosines: Vectors) -> list[list[str]]:
        deviations = sum((c - c.mean(1, keepdims=True)) / c.std(1, keepdims=True) for c in cosines)
        return [[f"p{n}" for n in row] for row in np.argsort(-deviations)[:, :5]]

    by_picture, by_caption = asked @ pictures.T, asked @ captions.T
    off = Hubness(captions, pictures)(pictures), Hubness(pictures, captions)(captions)
    fair, plain = best(by_picture - off[0], by_caption - off[1]), best(by_picture, by_caption)
    assert sum(fair[n] == got[n] for n in range(N)) > 0.97 * N  # vectors are stored in float16
    assert sum(plain[n] == got[n] for n in range(N)) < 0.9 * N


def test_too_few_to_tell_is_a_plain_search(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "red.txt").write_text("something red")
    ingest(read(str(photos)), encoder, collection)
    assert Hubs(Samples(collection))["text"] is None
    (hit,) = Engine(collection, encoder).search(Query(image=str(photos / "red.png"), kind="text"))
    assert hit.parts == {"vector": hit.score}
