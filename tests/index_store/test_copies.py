"""Snapshots are of one moment and leave the store alone; a restored one is a store."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Failure, Item, Store, copies
from index_store.copies import restore, snapshot
from index_store.errors import (
    RestoreCutShort,
    StoreCorrupt,
    StoreNotFound,
    StoreReadOnly,
    TargetExists,
)
from index_store.repair import repair
from tests.index_store.conftest import SPACE, pictures, unit_rows


def filled(store: Store, n: int = 20) -> Collection:
    collection = store.create_collection("default", SPACE, model="m")
    collection.add([*pictures(n), Item("t", "text", text="a dog")], unit_rows(n + 1))
    collection.add_failures([Failure("bad", "", "cut short")])
    return collection


def contents(path: Path) -> tuple:
    with Store.open(path, readonly=True) as store:
        assert store.verify(full=True) == []
        c = store.collection("default")
        keys = c.keys()
        return c.get(keys), c.vectors(keys).tolist(), c.failures(), c.model


@pytest.mark.parametrize("links", [True, False])
def test_a_snapshot_stays_as_it_was_while_the_store_goes_on(
    store: Store, tmp_path: Path, links: bool
) -> None:
    collection = filled(store)
    before = contents(store.path)
    snapshot(store.path, tmp_path / "snap", links=links)
    collection.add(pictures(30, 5), unit_rows(30, seed=1))
    collection.delete(["/p/0.jpg"])
    collection.compact("image", least=0)
    assert contents(tmp_path / "snap") == before
    assert contents(store.path) != before


@pytest.mark.skipif(os.name == "nt", reason="looks at inodes")
def test_a_snapshot_shares_files_and_can_therefore_not_be_written_to(
    store: Store, tmp_path: Path
) -> None:
    filled(store)
    snapshot(store.path, tmp_path / "snap")
    names = sorted(p.name for p in (tmp_path / "snap" / "vec").iterdir())
    for name in names:
        assert (tmp_path / "snap/vec" / name).samefile(store.path / "vec" / name)
    with pytest.raises(StoreReadOnly, match="mmsearch restore"):
        Store.open(tmp_path / "snap")
    (tmp_path / "snap" / "vec" / names[0]).unlink()
    with pytest.raises(StoreReadOnly, match="mmsearch restore"):
        repair(tmp_path / "snap")


def test_a_restored_snapshot_is_a_store_of_its_own(store: Store, tmp_path: Path) -> None:
    filled(store)
    before = contents(store.path)
    snapshot(store.path, tmp_path / "snap")
    assert restore(tmp_path / "snap", tmp_path / "new") is None
    assert contents(tmp_path / "new") == before
    with Store.open(tmp_path / "new") as new:
        new.collection("default").add(pictures(5), unit_rows(5, seed=3))
    assert contents(tmp_path / "snap") == before
    assert contents(store.path) == before


def test_restoring_moves_the_store_aside_only_when_told_to(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        collection = filled(store)
        snapshot(store.path, tmp_path / "snap")
        collection.delete(["t"])
    after = contents(tmp_path / "s")
    with pytest.raises(TargetExists):
        restore(tmp_path / "snap", tmp_path / "s")
    aside = restore(tmp_path / "snap", tmp_path / "s", replace=True)
    assert aside is not None
    assert contents(aside) == after
    assert contents(tmp_path / "s") == contents(tmp_path / "snap")


def test_a_replacement_that_was_cut_short_is_told_and_put_right(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        filled(store)
        snapshot(store.path, tmp_path / "snap")
    (tmp_path / "s").rename(tmp_path / "s.before-20240102-030405")
    (tmp_path / "s.0123abcd.part").mkdir()
    for options in ({"readonly": True}, {"create": True}, {}):
        with pytest.raises(RestoreCutShort, match=r"mmsearch restore SRC .*030405"):
            Store.open(tmp_path / "s", **options)
    assert restore(tmp_path / "snap", tmp_path / "s", replace=True) is None
    assert contents(tmp_path / "s") == contents(tmp_path / "s.before-20240102-030405")
    assert not (tmp_path / "s.0123abcd.part").exists()


def test_a_store_can_be_made_beside_one_that_was_replaced_long_ago(tmp_path: Path) -> None:
    (tmp_path / "s.before-20240102-030405").mkdir()
    with Store.open(tmp_path / "s", create=True) as store:
        assert store.collections() == []


def test_a_damaged_snapshot_is_not_restored(store: Store, tmp_path: Path) -> None:
    filled(store)
    snapshot(store.path, tmp_path / "snap", links=False)
    file = next((tmp_path / "snap" / "vec").glob("*image*"))
    data = bytearray(file.read_bytes())
    data[64 + 7] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="has changed"):
        restore(tmp_path / "snap", tmp_path / "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["snap", "store"]


def test_there_must_be_a_store_and_no_target(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        snapshot(tmp_path / "none", tmp_path / "snap")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TargetExists):
        snapshot(store.path, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    snapshot(store.path, tmp_path / "empty")
    assert Store.open(tmp_path / "empty", readonly=True).collections() == []


def test_a_compaction_under_way_makes_it_a_newer_moment(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(store)
    collection.delete(["/p/0.jpg"])
    before, copying = contents(store.path), copies._copy_file

    def compact_first(*args: object, **options: object) -> None:
        collection.compact("image", least=0)
        copying(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(copies, "_copy_file", compact_first)
    snapshot(store.path, tmp_path / "snap")
    assert contents(tmp_path / "snap") == before


def test_new_keys_for_items_and_failures_come_in_one_transaction(store: Store) -> None:
    from index_store.errors import KeyTaken

    c = filled(store, 3)
    vectors = c.vectors(["/p/0.jpg", "/p/1.jpg"])
    # A chain: 0 takes the name that 1 gives up.
    moved = {"/p/0.jpg": Item("/p/1.jpg"), "/p/1.jpg": Item("/q/1.jpg")}
    c.rekey(moved, {"bad": Failure("worse", "", "cut short")})
    assert c.keys() == ["/p/1.jpg", "/p/2.jpg", "/q/1.jpg", "t"]
    assert np.array_equal(c.vectors(["/p/1.jpg", "/q/1.jpg"]), vectors)
    assert [f.key for f in c.failures()] == ["worse"]
    with pytest.raises(KeyTaken, match="nothing was changed"):
        c.rekey({"/p/1.jpg": Item("/r/1.jpg"), "/q/1.jpg": Item("/p/2.jpg")}, {})
    assert c.keys() == ["/p/1.jpg", "/p/2.jpg", "/q/1.jpg", "t"]
    assert store.verify(full=True) == []
