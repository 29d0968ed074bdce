"""The approximate index: a cache that may be missing, stale or damaged, never wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Compare, Item, Space, Store, ann, segment
from index_store.recipe import recipe_for

DIM, N = 32, 4_000


def clustered(n: int, seed: int) -> np.ndarray:
    centres = np.random.default_rng(0).standard_normal((50, DIM))
    random = np.random.default_rng(seed)
    rows = centres[random.integers(0, 50, n)] + 0.5 * random.standard_normal((n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def big(tmp_path: Path) -> Collection:
    store = Store.open(tmp_path / "store", create=True)
    collection = store.create_collection("big", Space("test/32", DIM))
    items = [Item(str(i), meta={"n": i}) for i in range(N)]
    collection.add(items, clustered(N, 1))
    assert collection.build_index("image", threshold=1_000)
    return collection


def found(collection: Collection, queries: np.ndarray, k: int = 10, **options) -> list[list[str]]:
    return [[m.item.key for m in hits] for hits in collection.search(queries, k, **options)]


def exact(queries: np.ndarray, rows: np.ndarray, k: int = 10) -> list[list[str]]:
    scores = queries @ rows.astype(np.float16).astype(np.float32).T
    return [[str(i) for i in np.argsort(-s, kind="stable")[:k]] for s in scores]


def recall(answers: list[list[str]], truth: list[list[str]]) -> float:
    pairs = zip(answers, truth, strict=True)
    return float(np.mean([len(set(a) & set(t)) / len(t) for a, t in pairs]))


def test_the_index_finds_what_exact_search_finds(big: Collection) -> None:
    queries = clustered(50, 2)
    truth = exact(queries, clustered(N, 1))
    assert recall(found(big, queries), truth) >= 0.98
    # Scores are exact ones, so what it does find is in the right order.
    assert found(big, queries, effort=200)[0] == sorted(
        found(big, queries, effort=200)[0], key=truth_order(queries[0])
    )


def truth_order(query: np.ndarray):
    scores = clustered(N, 1).astype(np.float16).astype(np.float32) @ query
    return lambda key: (-scores[int(key)], int(key))


def test_low_effort_loses_recall_so_the_index_is_really_used(big: Collection) -> None:
    queries = clustered(50, 2)
    truth = exact(queries, clustered(N, 1), 20)
    assert recall(found(big, queries, 20, effort=1), truth) < 1.0


def test_rows_added_after_the_index_are_found(big: Collection) -> None:
    newer = clustered(5, 3)
    big.add([Item(f"new{i}") for i in range(5)], newer)
    assert [hits[0] for hits in found(big, newer, 1)] == [f"new{i}" for i in range(5)]


def test_deleted_and_replaced_rows_are_not_found_through_the_index(big: Collection) -> None:
    query = clustered(1, 2)
    first = found(big, query)[0]
    big.delete(first[:5])
    big.add([Item(first[5])], -query)
    assert found(big, query, 5)[0] == exact(query, clustered(N, 1), 11)[0][6:]


@pytest.mark.parametrize("low", [3_990, 3_000, 500])
def test_a_filter_loses_nothing_through_the_index(big: Collection, low: int) -> None:
    queries = clustered(30, 2)
    rows = clustered(N, 1)
    answers = found(big, queries, where=Compare("n", ">=", low))
    truth = [[str(int(k) + low) for k in keys] for keys in exact(queries, rows[low:])]
    assert recall(answers, truth) >= 0.99


def test_a_short_answer_is_the_start_of_a_longer_one(big: Collection) -> None:
    for short, long in zip(
        found(big, clustered(20, 2), 5), found(big, clustered(20, 2), 15), strict=True
    ):
        assert long[:5] == short


def test_a_fresh_index_is_not_built_again_and_a_stale_one_is(big: Collection) -> None:
    assert not big.build_index("image", threshold=1_000)
    big.add([Item(f"x{i}") for i in range(1_500)], clustered(1_500, 4))
    assert big.build_index("image", threshold=1_000)
    assert big.stats().indexes[0].rows == N + 1_500
    assert not big.build_index("text", threshold=1_000)


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_index_costs_time_and_no_answer(
    big: Collection, tmp_path: Path, damage: str
) -> None:
    (file,) = (tmp_path / "store" / "idx").iterdir()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flip" else data[:-9])
    queries = clustered(20, 2)
    with Store.open(tmp_path / "store", readonly=True) as store:
        assert found(store.collection("big"), queries) == exact(queries, clustered(N, 1))
        assert [p.where for p in store.verify()] == [file.name]
    assert big.build_index("image", threshold=1_000)
    with Store.open(tmp_path / "store", readonly=True) as store:
        assert store.verify() == []


def test_faiss_reads_the_stored_vectors_where_they_are_and_scores_them_exactly() -> None:
    rows, queries = clustered(N, 1).astype(np.float16), clustered(5, 2)
    index = ann.build(recipe_for("pq4fs", N, DIM), [rows], rows, DIM)
    for there in (rows, rows[:]):  # the second time it is looked at already
        scored = index.scored(there, queries, 200, 200)
        assert scored is not None, "this version of faiss needs another way"
        named = index.search(queries, 200)
        for query, names, (found_, scores) in zip(queries, named, scored, strict=True):
            assert set(found_.tolist()) == set(names.tolist())
            assert scores == pytest.approx(rows[found_].astype(np.float32) @ query, abs=1e-6)
    other = -rows
    ((_, scores), *_) = index.scored(other, queries, 200, 200) or []
    assert max(scores) < 0  # read anew, from the other place


def test_of_very_many_equal_hits_the_oldest_come_first_through_the_index(big: Collection) -> None:
    twins = np.repeat(clustered(1, 8), 60, axis=0)
    big.add([Item(f"twin{i}") for i in range(60)], twins)
    big.add([Item(f"x{i}") for i in range(1_000)], clustered(1_000, 4))
    assert big.build_index("image", threshold=1_000)
    oldest = [f"twin{i}" for i in range(60)]
    for k in (5, 10, 30):
        assert found(big, twins[:1], k) == [oldest[:k]]


def test_an_index_over_several_segments_finds_the_same(
    big: Collection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "MAX_BYTES", 64_000)  # 1,000 rows
    small = store.create_collection("several", Space("test/32", DIM))
    for n in range(0, N, 1_000):
        items = [Item(str(i), meta={"n": i}) for i in range(n, n + 1_000)]
        small.add(items, clustered(N, 1)[n : n + 1_000])
    assert small.build_index("image", threshold=1_000)
    queries = clustered(20, 2)
    assert recall(found(small, queries), exact(queries, clustered(N, 1))) >= 0.98
    assert found(small, queries[:1]) == found(big, queries[:1])
