"""What a collection promises: upsert, delete, filters, exact answers, durable reports."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from index_store import (
    AllOf,
    Collection,
    Compare,
    Contains,
    Failure,
    Item,
    Not,
    Space,
    Store,
    StoreError,
)
from index_store.errors import BadVectors, SpaceMismatch, StoreReadOnly
from tests.index_store.conftest import one_hot, pictures, unit_rows


def keys(matches: list) -> list[str]:
    return [m.item.key for m in matches]


def test_the_nearest_item_comes_first_with_its_cosine(collection: Collection) -> None:
    collection.add(pictures(3), one_hot(0, 1, 2))
    query = (one_hot(1) * 0.8 + one_hot(2) * 0.6).astype(np.float32)
    (hits,) = collection.search(query, 2)
    assert keys(hits) == ["/p/1.jpg", "/p/2.jpg"]
    assert [h.score for h in hits] == pytest.approx([0.8, 0.6], abs=1e-3)


def test_an_item_comes_back_as_it_was_stored(collection: Collection) -> None:
    item = Item(
        "/p/ü 'x'.jpg", "image", "file:///p/%C3%BC", "", "1-2", "abc",
        {"width": 3, "name": "ü", "f": 0.5, "ok": True, "none": None},
    )  # fmt: skip
    collection.add([item], one_hot(0))
    assert collection.get([item.key]) == [item]
    assert collection.get(["/elsewhere"]) == []


def test_the_same_key_is_replaced_not_doubled(collection: Collection) -> None:
    first = collection.add(pictures(2), one_hot(0, 1))
    second = collection.add([Item("/p/0.jpg", stamp="new")], one_hot(5))
    assert (first.added, first.updated) == (2, 0)
    assert (second.added, second.updated) == (0, 1)
    assert second.seq > first.seq
    assert collection.count() == 2
    (hits,) = collection.search(one_hot(0), 10)
    assert len(hits) == 2
    assert collection.vectors(["/p/0.jpg"])[0] == pytest.approx(one_hot(5)[0])


def test_an_add_says_how_many_were_new_whatever_kind_they_had_before(
    collection: Collection,
) -> None:
    collection.add([Item("a"), Item("b", "text")], one_hot(0, 1))
    both = [Item("a", "text"), Item("b", "text"), Item("c"), Item("c", "text")]
    report = collection.add(both, one_hot(0, 1, 2, 3))
    assert (report.added, report.updated) == (1, 3)
    assert (collection.count("image"), collection.count("text")) == (0, 3)


def test_of_two_equal_keys_in_one_call_the_later_stays(collection: Collection) -> None:
    report = collection.add([Item("a", stamp="1"), Item("a", stamp="2")], one_hot(0, 1))
    assert (report.added, report.updated) == (1, 1)
    assert collection.get(["a"])[0].stamp == "2"
    assert collection.vectors(["a"])[0] == pytest.approx(one_hot(1)[0])


def test_of_two_equal_keys_in_one_call_the_later_stays_whatever_their_kinds(
    collection: Collection,
) -> None:
    collection.add([Item("a", "text", text="a dog"), Item("a", "image")], one_hot(0, 1))
    assert collection.get(["a"]) == [Item("a", "image")]
    assert collection.vectors(["a"])[0] == pytest.approx(one_hot(1)[0])


def test_a_deleted_item_is_never_found_again(collection: Collection) -> None:
    collection.add(pictures(40), unit_rows(40))
    assert collection.delete([f"/p/{i}.jpg" for i in range(30)] + ["/nowhere"]) == 30
    (hits,) = collection.search(unit_rows(1), 40)
    assert sorted(keys(hits)) == sorted(f"/p/{i}.jpg" for i in range(30, 40))
    assert collection.stats().dead == 30


def test_update_changes_meta_and_keeps_the_vector(collection: Collection) -> None:
    collection.add(pictures(1), one_hot(3))
    assert collection.update([Item("/p/0.jpg", stamp="s", meta={"width": 9}), Item("/no")]) == 1
    assert collection.get(["/p/0.jpg"])[0].meta == {"width": 9}
    assert collection.vectors(["/p/0.jpg"])[0] == pytest.approx(one_hot(3)[0])
    assert collection.stats().dead == 0


def test_texts_and_pictures_are_searched_apart(collection: Collection) -> None:
    texts = [Item("t0", "text", text="a dog"), Item("t1", "text", text="a cat")]
    collection.add([*pictures(2), *texts], one_hot(0, 1, 0, 1))
    assert keys(collection.search(one_hot(1), 5)[0]) == ["/p/1.jpg", "/p/0.jpg"]
    assert keys(collection.search(one_hot(1), 5, kind="text")[0]) == ["t1", "t0"]
    assert (collection.count("image"), collection.count("text")) == (2, 2)


def test_the_best_5_are_the_first_5_of_the_best_15_even_among_equals(
    collection: Collection,
) -> None:
    collection.add(pictures(60), np.repeat(unit_rows(3), 20, axis=0))
    query = unit_rows(1)
    assert keys(collection.search(query, 5)[0]) == keys(collection.search(query, 15)[0])[:5]


def test_a_filter_holds_for_every_hit_and_hides_no_better_one(collection: Collection) -> None:
    vectors = unit_rows(300)
    collection.add(pictures(300), vectors)
    where = AllOf(Compare("width", ">=", 100), Not(Contains("key", "7")))
    passing = [i for i in range(100, 300) if "7" not in str(i)]
    query = unit_rows(1, seed=5)
    best = sorted(passing, key=lambda i: -float(vectors[i].astype(np.float16) @ query[0]))
    assert keys(collection.search(query, 7, where=where)[0]) == [f"/p/{i}.jpg" for i in best[:7]]
    assert collection.count(where=where) == len(passing)
    assert collection.keys(where) == sorted(f"/p/{i}.jpg" for i in passing)


def test_a_filter_that_nothing_passes_gives_no_hits(collection: Collection) -> None:
    collection.add(pictures(3), one_hot(0, 1, 2))
    assert collection.search(one_hot(0), 5, where=Compare("width", ">", 99)) == [[]]


def test_an_empty_collection_gives_no_hits(collection: Collection) -> None:
    assert collection.search(one_hot(0, 1), 5) == [[], []]


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((1, 8), np.float32),
        np.full((1, 8), np.nan, np.float32),
        one_hot(0)[:, :4],
        one_hot(0, 1),
        one_hot(0)[0],
    ],
)
def test_bad_vectors_are_refused_and_nothing_is_stored(
    collection: Collection, vectors: np.ndarray
) -> None:
    with pytest.raises(BadVectors):
        collection.add(pictures(1), vectors)
    assert collection.count() == 0
    with pytest.raises(BadVectors):
        collection.search(np.full((1, 8), np.inf, np.float32), 1)


@pytest.mark.parametrize(
    "item",
    [
        Item(""),
        Item("a", "video"),  # type: ignore[arg-type]
        Item("a", meta={"x": [1]}),  # type: ignore[dict-item]
        Item("a", meta={"x": float("nan")}),
        Item("a", text="\udcff"),
    ],
)
def test_an_item_that_could_not_be_read_back_is_refused(collection: Collection, item: Item) -> None:
    with pytest.raises(StoreError):
        collection.add([Item("good"), item], one_hot(0, 1))
    assert collection.count() == 0
    assert collection.add([Item("good")], one_hot(0)).added == 1
    with pytest.raises(StoreError):
        collection.update([Item("good", stamp="2"), item])
    assert collection.get(["good"]) == [Item("good")]


def test_vectors_of_another_space_are_refused(collection: Collection) -> None:
    with pytest.raises(SpaceMismatch, match=r"holds test/1 .* given other/2"):
        collection.add(pictures(1), one_hot(0), space=Space("other/2", 8))


def test_stamps_and_contents_are_found(collection: Collection) -> None:
    collection.add([Item("a", stamp="s", content="c1"), Item("b", content="c2")], one_hot(0, 1))
    assert collection.stamps(["a", "zz"])["a"].stamp == "s"
    assert collection.keys_by_content(["c2", "c3"]) == {"c2": "b"}


def test_a_failure_is_remembered_until_its_source_is_stored(collection: Collection) -> None:
    collection.add_failures([Failure("a", "file:///a", "truncated", "1-1"), Failure("b", "", "x")])
    collection.add_failures([Failure("a", "file:///a", "still truncated", "1-2")])
    assert [(f.key, f.reason) for f in collection.failures()] == [
        ("a", "still truncated"),
        ("b", "x"),
    ]
    collection.add([Item("a")], one_hot(0))
    collection.clear_failures(["b"])
    assert collection.failures() == []


def test_readers_in_threads_see_whole_commits_while_one_writes(store: Store) -> None:
    collection = store.create_collection("threads", Space("test/1", 8))
    torn: list[int] = []
    done = threading.Event()

    def read() -> None:
        with Store.open(store.path, readonly=True) as other:
            mine = other.collection("threads")
            while not done.is_set():
                (hits,) = mine.search(one_hot(0), 100)
                if len(hits) % 10:
                    torn.append(len(hits))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(0, 100, 10):
        collection.add(pictures(10, first=i), unit_rows(10, seed=i))
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert len(collection.search(one_hot(0), 100)[0]) == 100


def test_a_reader_cannot_write(store: Store, collection: Collection) -> None:
    with Store.open(store.path, readonly=True) as other, pytest.raises(StoreReadOnly):
        other.collection("default").add(pictures(1), one_hot(0))
