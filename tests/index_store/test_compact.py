"""Compaction gives back the room of dead slots and changes no answer."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Item, Store, segment
from index_store.errors import StoreCorrupt, StoreReadOnly
from tests.index_store.conftest import SPACE, pictures, unit_rows


def answers(collection: Collection) -> list:
    hits = collection.search(unit_rows(5, seed=9), 20)
    keys = collection.keys()
    vectors = collection.vectors(keys)
    return [hits, collection.get(keys), vectors.tolist()]


def half_dead(store: Store, n: int = 60) -> Collection:
    collection = store.create_collection("half", SPACE)
    collection.add(pictures(n), unit_rows(n))
    collection.add(pictures(n // 4), unit_rows(n // 4, seed=1))
    collection.delete([f"/p/{i}.jpg" for i in range(n // 2, 3 * n // 4)])
    return collection


def files(store: Store) -> list[Path]:
    return sorted((store.path / "vec").iterdir())


def test_compaction_gives_back_the_room_and_changes_no_answer(store: Store) -> None:
    collection = half_dead(store)
    before, seq = answers(collection), collection.seq()
    size = files(store)[0].stat().st_size
    report = collection.compact("image")
    assert report is not None
    assert (report.rows, report.dead, report.freed) == (45, 30, 30 * 16)
    assert answers(collection) == before
    assert collection.seq() == seq + 1
    (file,) = files(store)
    assert file.stat().st_size == size - 30 * 16
    assert collection.stats().dead == 0
    assert store.verify(full=True) == []
    collection.add(pictures(1, 100), unit_rows(1, seed=7))
    assert collection.count() == 46
    assert store.verify(full=True) == []


def test_nothing_is_done_where_it_does_not_pay(store: Store, collection: Collection) -> None:
    collection.add(pictures(10), unit_rows(10))
    collection.delete(["/p/0.jpg", "/p/1.jpg"])
    assert collection.compact("image", least=0.3) is None
    assert collection.compact("text", least=0) is None
    assert collection.compact("image", least=0) is not None
    assert collection.compact("image", least=0) is None


def test_a_shelf_of_which_nothing_lives_becomes_empty(store: Store, collection: Collection) -> None:
    collection.add(pictures(10), unit_rows(10))
    collection.delete([f"/p/{i}.jpg" for i in range(10)])
    assert collection.compact("image") is not None
    assert files(store) == []
    assert collection.search(unit_rows(1), 3) == [[]]
    collection.add(pictures(2), unit_rows(2))
    assert store.verify(full=True) == []


def test_full_segments_come_out_as_several(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "MAX_BYTES", 160)  # 10 rows
    monkeypatch.setattr("index_store.compact.BLOCK", 10)
    for n in range(0, 60, 10):
        collection.add(pictures(10, n), unit_rows(10, seed=n))
    collection.delete([f"/p/{i}.jpg" for i in range(0, 60, 2)])
    before = answers(collection)
    seen: list[int] = []
    assert collection.compact("image", progress=seen.append) is not None
    assert seen == [10, 10, 10]
    assert len(files(store)) == 3
    assert answers(collection) == before
    assert store.verify(full=True) == []


def test_damage_is_not_copied_and_nothing_is_changed(store: Store) -> None:
    collection = half_dead(store)
    (file,) = files(store)
    with file.open("rb+") as f:
        f.seek(64 + 20 * 16)
        f.write(b"\xff")
    with pytest.raises(StoreCorrupt, match=r"/p/20\.jpg"):
        collection.compact("image")
    assert files(store) == [file]
    assert collection.count() == 45
    collection.add(pictures(1, 100), unit_rows(1))  # the writer is not poisoned by it


def test_an_index_over_the_old_positions_goes_with_them(store: Store) -> None:
    collection = half_dead(store, 1_200)
    assert collection.build_index("image", threshold=256)
    before = answers(collection)
    assert collection.compact("image") is not None
    assert list((store.path / "idx").iterdir()) == []
    assert answers(collection) == before
    assert collection.build_index("image", threshold=256)
    assert store.verify(full=True) == []


def test_an_index_that_was_built_while_its_rows_moved_is_not_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from index_store import optimizing

    collection = half_dead(store, 1_200)
    before = answers(collection)
    build = optimizing.build

    def built_late(shelf, recipe):
        made = build(shelf, recipe)
        collection.compact("image")
        return made

    monkeypatch.setattr(optimizing, "build", built_late)
    assert not collection.build_index("image", threshold=256)
    assert list((store.path / "idx").iterdir()) == []
    assert answers(collection) == before
    assert store.verify(full=True) == []


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_readers_go_on_over_a_compaction(store: Store) -> None:
    collection = half_dead(store)
    with Store.open(store.path, readonly=True) as other:
        reader = other.collection("half")
        before = answers(reader)
        collection.compact("image")
        assert answers(reader) == before
        collection.delete(["/p/0.jpg"])
        assert reader.count() == 44


def test_a_reader_whose_files_vanish_before_it_opens_them_takes_a_newer_snapshot(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = half_dead(store)
    before = answers(collection)
    opening, compacted = segment.Segment.open, []

    def open_late(self: segment.Segment) -> np.ndarray:
        if not compacted:
            compacted.append(self.path)
            collection.compact("image")
        return opening(self)

    monkeypatch.setattr(segment.Segment, "open", open_late)
    with Store.open(store.path, readonly=True) as other:
        assert answers(other.collection("half")) == before
    assert compacted
    assert not compacted[0].exists()


def test_a_reader_cannot_compact(store: Store) -> None:
    half_dead(store)
    with Store.open(store.path, readonly=True) as other, pytest.raises(StoreReadOnly):
        other.collection("half").compact("image")


def test_collections_and_kinds_are_compacted_apart(store: Store) -> None:
    collection = half_dead(store)
    collection.add([Item(f"t{i}", "text") for i in range(5)], unit_rows(5))
    collection.delete(["t0", "t1"])
    other = store.create_collection("other", SPACE)
    other.add(pictures(3), unit_rows(3))
    collection.compact("image")
    assert collection.stats().dead == 2
    assert other.count() == 3
    assert store.verify(full=True) == []
