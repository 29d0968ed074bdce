"""Opening, locking, recovery: what a crash or another process may have left."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from index_store import Collection, Item, Space, Store
from index_store.errors import (
    CollectionExists,
    CollectionNotFound,
    StoreCorrupt,
    StoreLocked,
    StoreNotFound,
    StoreReadOnly,
    StoreTooNew,
)
from index_store.verify import verify
from tests.index_store.conftest import SPACE, one_hot, pictures, unit_rows


def segment_file(path: Path) -> Path:
    (file,) = (path / "vec").glob("*.vec")
    return file


def filled(path: Path, n: int = 20) -> Path:
    with Store.open(path, create=True) as store:
        store.create_collection("default", SPACE, model="m").add(pictures(n), unit_rows(n))
    return path


def contents(path: Path) -> tuple[list[str], list]:
    with Store.open(path, readonly=True) as store:
        collection = store.collection("default")
        keys = collection.keys()
        return keys, collection.vectors(keys).tolist()


def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    path = filled(tmp_path / "süß ☃")
    keys, vectors = contents(path)
    assert len(keys) == 20
    assert vectors[0] == pytest.approx(unit_rows(20)[0].tolist(), abs=1e-3)
    with Store.open(path, readonly=True) as store:
        collection = store.collection("default")
        assert (collection.space, collection.model) == (SPACE, "m")


def test_a_missing_store_and_a_missing_collection_say_so(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="no index in"):
        Store.open(tmp_path / "none", readonly=True)
    with pytest.raises(StoreNotFound):
        Store.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with (
        Store.open(filled(tmp_path / "s"), readonly=True) as store,
        pytest.raises(CollectionNotFound, match="it has: 'default'"),
    ):
        store.collection("other")


def test_a_name_is_given_once(store: Store, collection: Collection) -> None:
    with pytest.raises(CollectionExists):
        store.create_collection("default", SPACE)


def test_a_second_writer_is_refused_and_readers_go_on(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    with Store.open(path), Store.open(path, readonly=True) as reader:
        script = "import sys; from index_store import Store; Store.open(sys.argv[1])"
        other = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
        )
        assert "StoreLocked" in other.stderr
        with pytest.raises(StoreLocked, match="another process"):
            Store.open(path)
        assert reader.collection("default").count() == 20
    Store.open(path).close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    with sqlite3.connect(path / "meta.db") as connection:
        connection.execute("UPDATE kv SET value = '99' WHERE key = 'format'")
    connection.close()
    before = (path / "meta.db").read_bytes()
    for readonly in (True, False):
        with pytest.raises(StoreTooNew, match="format 99"):
            Store.open(path, readonly=readonly)
    assert (path / "meta.db").read_bytes() == before


def test_a_tail_that_was_never_committed_is_cut(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    before = contents(path)
    file = segment_file(path)
    size = file.stat().st_size
    with file.open("ab") as f:
        f.write(b"half a vector")
    (path / "idx" / "c1-image-9-abc.tmp").write_bytes(b"half an index")
    (path / "vec" / "c1-image-20-abc.vec").write_bytes(b"a segment of an uncommitted add")
    assert contents(path) == before
    Store.open(path).close()
    assert file.stat().st_size == size
    assert list((path / "idx").iterdir()) == []
    assert list((path / "vec").iterdir()) == [file]
    assert contents(path) == before


def test_a_crash_before_the_first_commit_leaves_a_store_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "meta.db").touch()
    with pytest.raises(StoreNotFound):
        Store.open(tmp_path, readonly=True)
    Store.open(tmp_path, create=True).close()
    assert Store.open(tmp_path, readonly=True).collections() == []


def test_a_short_segment_is_reported_not_searched(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    file = segment_file(path)
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(StoreCorrupt, match="were committed"):
        Store.open(path)
    with Store.open(path, readonly=True) as store:
        assert [p.where for p in store.verify()] == [file.name]
        with pytest.raises(StoreCorrupt):
            store.collection("default").search(one_hot(0), 3)


def test_a_segment_of_another_store_is_noticed(tmp_path: Path) -> None:
    ours, theirs = filled(tmp_path / "a"), filled(tmp_path / "b")
    segment_file(ours).write_bytes(segment_file(theirs).read_bytes())
    with pytest.raises(StoreCorrupt, match="header"):
        Store.open(ours)


def test_a_flipped_bit_in_a_vector_is_found(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    file = segment_file(path)
    data = bytearray(file.read_bytes())
    data[64 + 3 * 16 + 4] ^= 1
    file.write_bytes(data)
    with Store.open(path, readonly=True) as store:
        assert store.verify() == []
        assert ["/p/3.jpg" in p.what for p in store.verify(full=True)] == [True]
        with pytest.raises(StoreCorrupt):
            store.collection("default").search(unit_rows(1), 20)


def test_a_changed_row_is_found(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    with sqlite3.connect(path / "meta.db") as connection:
        connection.execute("UPDATE item SET stamp = 'x' WHERE key = '/p/3.jpg'")
    connection.close()
    with Store.open(path, readonly=True) as store:
        assert any("/p/3.jpg" in p.what for p in store.verify(full=True))
        with pytest.raises(StoreCorrupt, match="changed since"):
            store.collection("default").get(["/p/3.jpg"])


def test_damage_that_the_driver_cannot_even_name_is_reported(tmp_path: Path) -> None:
    """SQLite's message quotes the damaged name, which is no UTF-8 any more."""
    path = filled(tmp_path / "s")
    data = (path / "meta.db").read_bytes()
    (path / "meta.db").write_bytes(data.replace(b"CREATE TABLE kv", b"CREATE TABL\xee kv"))
    for options in ({}, {"readonly": True}):
        with pytest.raises(StoreCorrupt, match=r"meta\.db"):
            Store.open(path, **options)
    assert verify(path, full=True) != []


def test_a_garbage_database_is_reported(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    (path / "meta.db").write_bytes(b"garbage " * 1000)
    with pytest.raises(StoreCorrupt):
        Store.open(path, readonly=True)
    with pytest.raises(StoreCorrupt):
        Store.open(path)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="uses Linux users")
def test_a_read_only_folder_can_be_searched_and_not_written(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    import tempfile

    # pytest's tmp_path is closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = filled(Path(folder) / "s")
        script = (
            "import os, sys, mmap, filelock, numpy as np; from index_store import Store\n"
            "os.setuid(65534)\n"
            "s = Store.open(sys.argv[1], readonly=True).collection('default')\n"
            "print(len(s.search(np.eye(8, dtype=np.float32)[:1], 5)[0]))\n"
            "try: Store.open(sys.argv[1])\n"
            "except Exception as e: print(type(e).__name__)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
        )
    assert done.stdout.split() == ["5", "StoreReadOnly"], done.stderr


def test_a_full_disk_rolls_back_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: the segment file cannot grow past it."""
    pytest.importorskip("resource")
    path = filled(tmp_path / "s", 20)
    script = (
        "import resource, sys; from index_store import Store, Item; import numpy as np\n"
        "limit = int(sys.argv[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "v = np.tile(np.eye(8, dtype=np.float32), (500, 1))\n"
        "try: s = Store.open(sys.argv[1])\n"
        "except Exception as e: print(type(e).__name__, 0, type(e).__name__, 20); sys.exit()\n"
        "with s:\n"
        "    c = s.collection('default')\n"
        "    for n in range(100):\n"
        "        try: c.add([Item(f'/q/{n}-{i}') for i in range(4000)], v)\n"
        "        except Exception as e: print(type(e).__name__, n); break\n"
        "    try: c.delete(['/p/0.jpg'])\n"
        "    except Exception as e: print(type(e).__name__, c.count())\n"
    )
    for limit in (30_000, 70_000, 3_000_000):
        done = subprocess.run(
            [sys.executable, "-c", script, str(path), str(limit)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr
        name, n, again, count = done.stdout.split()
        assert name in {"StoreFull", "WriteFailed"}, done
        assert again == name
        assert int(count) >= 20 + 4000 * int(n)
        with Store.open(path) as store:
            assert store.collection("default").count() == int(count)
            assert store.verify(full=True) == []


def test_after_an_index_could_not_be_written_nothing_else_is(tmp_path: Path) -> None:
    """What the kernel dropped of one file it may have dropped of others."""
    pytest.importorskip("resource")
    path = filled(tmp_path / "s", 300)
    script = (
        "import resource, sys; from index_store import Store\n"
        "with Store.open(sys.argv[1]) as s:\n"
        "    c = s.collection('default')\n"
        "    before = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))\n"
        "    for call in (lambda: c.build_index('image', threshold=256),\n"
        "                 lambda: c.delete(['/p/0.jpg'])):\n"
        "        try: call()\n"
        "        except Exception as e: print(type(e).__name__)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["StoreFull", "StoreFull"], done
    assert list((path / "idx").iterdir()) == []
    with Store.open(path) as store:
        assert store.collection("default").delete(["/p/0.jpg"]) == 1


def test_collections_do_not_mix(store: Store, collection: Collection) -> None:
    other = store.create_collection("other", Space("test/2", 8))
    collection.add([Item("a")], one_hot(0))
    other.add([Item("a"), Item("b")], one_hot(1, 2))
    assert (collection.count(), other.count()) == (1, 2)
    assert [m.item.key for m in collection.search(one_hot(2), 5)[0]] == ["a"]
    assert store.collections() == ["default", "other"]


def test_a_collection_of_a_store_that_was_closed_takes_no_writes(tmp_path: Path) -> None:
    path = filled(tmp_path / "s", 2)
    with Store.open(path) as store:
        collection = store.collection("default")
    with Store.open(path) as other:  # the lock is another's now
        for write in (
            lambda: collection.add([Item("late")], one_hot(0)),
            lambda: collection.delete(collection.keys()),
            lambda: collection.update(collection.get(collection.keys())),
        ):
            with pytest.raises(StoreReadOnly, match="closed"):
                write()
        assert other.collection("default").count() == 2
