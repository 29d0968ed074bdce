from __future__ import annotations

import json
import os
import time

import pytest

from mmsearch.cores import usable_cores
from mmsearch.encoders import cache, load_encoder, weights
from mmsearch.errors import ModelUnavailable


def name(folder) -> str:
    return load_encoder(f"onnx:{folder}").space.name


def test_a_renamed_copy_is_the_same_space(tiny, tmp_path):
    folder = tiny("immich")
    before = name(folder)
    assert name(folder.rename(tmp_path / "renamed")) == before


@pytest.mark.parametrize(
    "changed",
    ["visual/model.onnx", "textual/table.data", "textual/tokenizer.json"],
)
def test_any_byte_that_changes_the_vectors_changes_the_space(tiny, changed):
    folder = tiny("external")
    before = name(folder)
    path = folder / changed
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    assert name(folder) != before


@pytest.mark.parametrize("added", ["README.md", "visual/model.armnn", "textual/vocab.json"])
def test_files_that_nobody_reads_do_not_change_the_space(tiny, added):
    folder = tiny("external")
    before = name(folder)
    (folder / added).write_text("anything")
    assert name(folder) == before


def test_bytes_that_move_from_one_file_to_the_next_change_the_hash(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"12"), b.write_bytes(b"3")
    before = weights.hash_files([a, b], root=tmp_path)
    a.write_bytes(b"1"), b.write_bytes(b"23")
    assert weights.hash_files([a, b], root=tmp_path) != before


def test_a_configs_own_hash_is_trusted(tiny):
    folder = tiny("masked")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "weights_hash": "abc"}))
    assert name(folder) == "tiny/abc"


def test_the_hash_is_computed_once_and_again_when_a_file_changes(tmp_path):
    file = tmp_path / "w"
    file.write_bytes(b"1")
    made = []

    def compute() -> str:
        made.append(1)
        return f"{len(made):012d}"

    assert weights.remembered([file], compute) == "000000000001"
    assert weights.remembered([file], compute) == "000000000001"
    assert weights.remembered([file], compute, salt="other") == "000000000002"
    os.utime(file, ns=(5, 5))
    assert weights.remembered([file], compute) == "000000000003"


@pytest.mark.parametrize("junk", ["", "[]", '{"hash": 5}', '{"hash": "short"}', "\x00"])
def test_a_broken_cache_entry_is_computed_again(tmp_path, own_caches, junk):
    file = tmp_path / "w"
    file.write_bytes(b"1")
    weights.remembered([file], lambda: "a" * 12)
    (entry,) = (own_caches / "mmsearch" / "weights").iterdir()
    entry.write_text(junk)
    assert weights.remembered([file], lambda: "b" * 12) == "b" * 12
    assert weights.remembered([file], lambda: "c" * 12) == "b" * 12


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, own_caches):
    (own_caches / "mmsearch").write_text("a file where the folder should be")
    file = tmp_path / "w"
    file.write_bytes(b"1")
    assert weights.remembered([file], lambda: "a" * 12) == "a" * 12


def test_weights_that_cannot_be_read_are_an_error(tiny, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied", "visual/model.onnx")

    monkeypatch.setattr(weights, "bundle_hash", fail)
    with pytest.raises(ModelUnavailable, match=r"cannot be read: .*visual/model\.onnx"):
        name(tiny("masked"))


# The cores that a process may use, on machines made of files.


@pytest.fixture
def machine(tmp_path, monkeypatch):
    def make(siblings: list[str], quota: dict[str, str]):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(len(siblings))), False)
        for cpu, text in enumerate(siblings):
            folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(text + "\n")
        for file, text in quota.items():
            path = tmp_path / "fs/cgroup" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("siblings", "quota", "cores"),
    [
        (["0", "1", "2", "3"], {}, 4),
        (["0,2", "1,3", "0,2", "1,3"], {}, 2),  # hyper-threads
        (["0", "1", "2", "3"], {"cpu.max": "max 100000"}, 4),
        (["0", "1", "2", "3"], {"cpu.max": "150000 100000"}, 2),
        (["0", "1", "2", "3"], {"cpu.max": "10000 100000"}, 1),
        (["0", "1"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 2),
        (["0", "1"], {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        (["0", "1"], {"cpu.max": "nonsense"}, 2),
    ],
)
def test_cores_are_counted_as_the_process_may_use_them(machine, siblings, quota, cores):
    assert usable_cores(machine(siblings, quota)) == cores


def test_an_unknown_topology_counts_every_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, False)
    assert usable_cores(tmp_path) == 3


def test_tensors_are_hashed_by_name_type_shape_and_value_in_any_order():
    torch = pytest.importorskip("torch")
    state = {"a": torch.arange(6.0), "b": torch.tensor(1), "c": torch.ones(2, 3).T}
    known = weights.hash_tensors(state)
    assert weights.hash_tensors(dict(reversed(state.items()))) == known
    assert weights.hash_tensors({**state, "c": torch.ones(3, 2)}) == known
    changed = [
        {"a": torch.arange(6.0).reshape(2, 3)},
        {"a": torch.arange(6.0, dtype=torch.bfloat16)},
        {"b": torch.tensor(2)},
        {"d": torch.tensor(1)},
    ]
    hashes = {weights.hash_tensors({**state, **change}) for change in changed}
    assert len(hashes | {known}) == 5


def test_writing_an_entry_removes_those_of_half_a_year_ago(own_caches):
    new, old, other = (cache.entry("tokens", [name], ".db") for name in ("new", "old", "other"))
    for path in (old, other):
        cache.write(path, b"kept")
    long_ago = time.time() - cache.KEPT_S - 60
    os.utime(old, (long_ago, long_ago))
    cache.write(new, b"made")
    assert {p.read_bytes() for p in new.parent.iterdir()} == {b"kept", b"made"}
    assert not old.exists()
    assert other.exists()
