"""A repair keeps what is sound, names what is lost, and throws nothing away."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from index_store import Failure, Item, Store, salvage
from index_store.errors import StoreCorrupt
from index_store.repair import repair
from index_store.verify import verify
from tests.index_store.conftest import SPACE, pictures, unit_rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """20 pictures, 3 texts and a failure."""
    with Store.open(tmp_path / "s", create=True) as store:
        c = store.create_collection("default", SPACE, model="m")
        c.add(pictures(20), unit_rows(20))
        c.add([Item(f"t{n}", "text", text="a dog") for n in range(3)], unit_rows(3, seed=1))
        c.add_failures([Failure("bad", "", "cut short")])
    return tmp_path / "s"


def file_of(path: Path, kind: str = "image") -> Path:
    return next((path / "vec").glob(f"*-{kind}-*.vec"))


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def bytes_of(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in [path / "meta.db", *(path / "vec").iterdir()]}


def sql(path: Path, statement: str) -> None:
    with sqlite3.connect(path / "meta.db") as connection:
        connection.execute(statement)
    connection.close()


def state(path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the keys and the failures' reasons, of a store that is sound."""
    with Store.open(path) as store:
        assert store.verify(full=True) == []
        c = store.collection("default")
        assert len(c.search(unit_rows(1), 5_000)[0]) == c.count("image")
        return c.keys(), {f.key: f.reason for f in c.failures()}


def test_a_sound_store_is_not_changed(path: Path) -> None:
    before = bytes_of(path)
    report = repair(path)
    assert (report.problems, report.lost, report.quarantine) == ((), (), None)
    assert bytes_of(path) == before


def test_a_damaged_vector_is_lost_alone_and_remembered(path: Path) -> None:
    damaged = file_of(path)
    flip(damaged, 64 + 3 * 16)
    kept = damaged.read_bytes()
    report = repair(path)
    assert [(one.item, one.whole) for one in report.lost] == [(pictures(4)[3], True)]
    keys, failures = state(path)
    assert len(keys) == 22
    assert set(failures) == {"bad", "/p/3.jpg"}
    assert report.quarantine is not None
    assert [p.read_bytes() for p in report.quarantine.glob("*.vec-*")] == [kept]
    assert "/p/3.jpg" in next(report.quarantine.glob("rows-*.jsonl")).read_text()


def test_a_segment_cut_short_keeps_what_it_still_has(path: Path) -> None:
    os.truncate(file_of(path), 64 + 5 * 16 + 3)
    assert len(repair(path).lost) == 15
    keys, _ = state(path)
    assert keys == [*sorted(f"/p/{i}.jpg" for i in range(5)), "t0", "t1", "t2"]


def test_a_missing_segment_costs_its_items_and_no_others(path: Path) -> None:
    file_of(path).unlink()
    assert len(repair(path).lost) == 20
    keys, failures = state(path)
    assert keys == ["t0", "t1", "t2"]
    assert len(failures) == 21


def test_a_changed_row_is_lost_with_its_reason(path: Path) -> None:
    sql(path, "UPDATE item SET stamp = 'x' WHERE key = '/p/3.jpg'")
    (lost,) = repair(path).lost
    assert (lost.item.key, lost.whole) == ("/p/3.jpg", False)
    keys, failures = state(path)
    assert len(keys) == 22
    assert "changed" in failures["/p/3.jpg"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE collection SET model = 'n'",
        "UPDATE collection SET dim = 9",
        "UPDATE kv SET value = '0' WHERE key = 'format'",
        "UPDATE kv SET value = 'q' WHERE key = 'digest-1'",
        "UPDATE failure SET reason = 'another'",
        "UPDATE segment SET slots = 5 WHERE kind = 'image'",
        "DELETE FROM segment WHERE kind = 'image'",
        "UPDATE segment SET uuid = 'x'",
        "UPDATE segment SET kind = 'imagf' WHERE kind = 'image'",
        "UPDATE failure SET reason = x'ff'",
    ],
)
def test_a_change_in_the_small_tables_is_found_and_loses_no_item(
    path: Path, statement: str
) -> None:
    sql(path, statement)
    assert verify(path, full=True) != []
    assert repair(path).lost == ()
    assert len(state(path)[0]) == 23


def test_two_rows_of_one_id_are_both_kept(path: Path) -> None:
    """A damaged page can name a row by another's id; the checksum of neither row tells."""
    raw = sqlite3.connect(path / "meta.db")
    tables = {}
    for name in ("collection", "segment", "failure", "item"):
        found = raw.execute(f"SELECT * FROM {name}")
        columns = [column for column, *_ in found.description]
        tables[name] = [dict(zip(columns, row, strict=True)) for row in found]
    raw.close()
    tables["item"][3]["id"] = tables["item"][4]["id"]
    twice = [*tables["collection"], dict(tables["collection"][0], name="other")]
    new = path / "meta.db.new"
    lost: list[str] = []
    salvage._write(new, path, salvage._distinct(twice), tables, lambda *a, **_: lost.append(str(a)))
    new.replace(path / "meta.db")
    assert lost == []
    assert len(state(path)[0]) == 23


def test_a_database_of_which_a_page_is_gone_gives_what_is_left(path: Path) -> None:
    with Store.open(path) as store:
        c = store.collection("default")
        c.add(pictures(2_000), unit_rows(2_000))
    database = path / "meta.db"
    data = bytearray(database.read_bytes())
    at = data.index(b"/p/1500.jpg") // 4096 * 4096
    data[at : at + 4096] = bytes(4096)
    database.write_bytes(data)
    repair(path)
    keys, _ = state(path)
    assert 1_900 < len(keys) <= 2_003
    assert next((path / "quarantine").glob("meta.db-*")).read_bytes() == bytes(data)


def test_what_cannot_be_saved_is_left_alone(path: Path) -> None:
    garbage = b"garbage " * 1_000
    (path / "meta.db").write_bytes(garbage)
    with pytest.raises(StoreCorrupt, match="restore a snapshot"):
        repair(path)
    assert (path / "meta.db").read_bytes() == garbage
    assert file_of(path).exists()


def test_missing_tables_do_not_pass_for_a_new_store_and_cost_the_vectors(path: Path) -> None:
    sql(path, "DROP TABLE kv")
    for create in (False, True):
        with pytest.raises(StoreCorrupt, match="tables are missing"):
            Store.open(path, create=create)
    assert file_of(path).exists()
    assert repair(path).lost == ()
    assert len(state(path)[0]) == 23


def test_a_damaged_index_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store.open(path, create=True) as store:
        c = store.create_collection("default", SPACE)
        c.add(pictures(700), unit_rows(700))
        assert c.build_index("image", threshold=256)
    (file,) = (path / "idx").iterdir()
    flip(file, 200)
    assert len(repair(path).problems) == 1
    assert not file.exists()
    assert len(state(path)[0]) == 700


def test_a_repair_that_was_cut_short_keeps_everybody_out_and_goes_on(path: Path) -> None:
    """Between the end of the old database's log and the new one's coming."""
    before = state(path)
    (path / "meta.db.mended").write_bytes((path / "meta.db").read_bytes())
    (path / "meta.db").write_bytes(b"without its log")
    for options in ({}, {"readonly": True}):
        with pytest.raises(StoreCorrupt, match="a repair was cut short; run it again"):
            Store.open(path, **options)
    assert verify(path, full=True) != []
    repair(path)
    assert state(path) == before
    assert verify(path, full=True) == []
