"""A store of every format that was ever released opens, and holds what it held."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from index_store import Item, Store
from index_store.db import FORMAT
from tests.formats.make import AXES, make

STORES = sorted(Path(__file__).parent.glob("v*"))


def test_every_format_has_its_store() -> None:
    assert [p.name for p in STORES] == [f"v{n}" for n in range(1, FORMAT + 1)]


@pytest.mark.parametrize("name", [*(p.name for p in STORES), "made now"])
def test_a_store_of_this_format_can_be_read_and_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    if name == "made now":
        make(path)
    else:
        shutil.copytree(Path(__file__).parent / name, path)
    for readonly in (True, False):
        with Store.open(path, readonly=readonly) as store:
            assert store.verify(full=True) == []
            assert store.collections() == ["default", "empty"]
            c = store.collection("default")
            assert (c.model, c.space.name, c.space.dim) == ("color", "test/1", 8)
            assert (c.count("image"), c.count("text"), c.stats().dead) == (5, 1, 2)
            assert [f.reason for f in c.failures()] == ["cut short"]
            (best, *_) = c.search(AXES[7:], 5)[0]
            assert best.item == Item("/p/0.jpg", stamp="new", meta={"width": 9.5, "ok": True})
            assert c.search(AXES[6:7], 1, kind="text")[0][0].item.text == "ein Bär"
    with Store.open(path) as store:
        assert store.collection("default").add([Item("new")], AXES[:1]).added == 1
