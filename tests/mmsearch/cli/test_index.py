"""`mmsearch index`, `status`, `failures`, `verify`: the life of a collection."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from index_store import Store
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


def test_indexing_says_on_stderr_what_was_done(mmsearch: Mmsearch, photos: Path) -> None:
    done = mmsearch("index", photos, "--model", "color")
    assert (done.code, done.out) == (0, "")
    assert "3 added" in done.err
    done = mmsearch("index", photos)
    assert "3 unchanged" in done.err


def test_failed_files_are_named_and_exit_with_5(mmsearch: Mmsearch, photos: Path) -> None:
    (photos / "bad.png").write_text("no picture")
    done = mmsearch("index", photos, "--model", "color")
    assert done.code == 5
    assert "bad.png" in done.err
    listed = mmsearch("failures")
    assert (listed.code, "bad.png" in listed.out) == (0, True)
    rows = json.loads(mmsearch("failures", "--format", "json").out)["failures"]
    assert [Path(r["key"]).name for r in rows] == ["bad.png"]
    assert mmsearch("index", photos).code == 0
    assert mmsearch("index", photos, "--retry").code == 5
    paint(photos / "bad.png", "blue")
    assert mmsearch("index", photos).code == 0
    assert mmsearch("failures").out == ""


def test_jsonl_acknowledges_each_item_and_ends_with_the_report(
    mmsearch: Mmsearch, photos: Path
) -> None:
    (photos / "red.txt").write_text("something red")
    done = mmsearch("index", photos, "--model", "color", "--format", "jsonl")
    *items, last = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(Path(i["stored"]).name for i in items) == [
        "blue.png",
        "green.png",
        "red.png",
        "red.png#caption-0",
    ]
    assert (last["schema"], last["report"]["added"], last["report"]["captions"]) == (1, 3, 1)


def test_paths_come_from_standard_input(
    mmsearch: Mmsearch, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = f"{photos / 'red.png'}\0{photos / 'nested'}\0".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert "2 added" in mmsearch("index", "-", "--model", "color").err


def test_prune_forgets_what_is_gone_and_without_it_a_drive_may_be_missing(
    mmsearch: Mmsearch, photos: Path
) -> None:
    mmsearch("index", photos, "--model", "color")
    for path in photos.rglob("*.png"):
        path.unlink()
    assert "--prune" in mmsearch("index", photos).err
    assert "pictures    3" in mmsearch("status").out
    mmsearch("index", photos, "--prune")
    assert "pictures    0" in mmsearch("status").out


def test_status_shows_every_collection(indexed: Mmsearch, photos: Path) -> None:
    indexed("index", photos / "nested", "--collection", "second", "--model", "color")
    rows = json.loads(indexed("status", "--format", "json").out)["collections"]
    assert [(r["collection"], r["images"], r["texts"]) for r in rows] == [
        ("default", 3, 1),
        ("second", 1, 0),
    ]
    assert "collection  second" in indexed("status").out


def test_verify_finds_damage_and_exits_with_3(indexed: Mmsearch, tmp_path: Path) -> None:
    assert indexed("verify", "--full").code == 0
    file = next((tmp_path / "store" / "vec").glob("*image*.vec"))
    data = bytearray(file.read_bytes())
    data[64] ^= 1
    file.write_bytes(data)
    assert indexed("verify").code == 0
    done = indexed("verify", "--full", "--format", "json")
    assert done.code == 3
    assert json.loads(done.out)["problems"][0]["where"] == file.name


def test_a_mistyped_source_makes_no_store(mmsearch: Mmsearch, photos: Path, tmp_path: Path) -> None:
    done = mmsearch("index", photos, tmp_path / "nowhere", "--model", "color")
    assert done.code == 2
    assert "no such file or folder" in done.err
    assert not (tmp_path / "store").exists()


def test_what_a_crash_before_the_first_commit_left_is_no_obstacle(
    mmsearch: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "meta.db").touch()
    assert mmsearch("index", photos, "--model", "color").code == 0
    assert "pictures    3" in mmsearch("status").out


def test_reindex_switches_to_another_model_or_says_what_is_missing(
    indexed: Mmsearch, photos: Path
) -> None:
    from tests.mmsearch.encoders.conftest import TINY

    model = f"onnx:{TINY / 'immich'}"
    (photos / "red.png").rename(photos / "away")
    done = indexed("reindex", "--model", model)
    assert (done.code, "red.png" in done.err, "--drop-missing" in done.err) == (5, True, True)
    assert "blue.png" in indexed("search", "blue", "-n", "1").out
    (photos / "away").rename(photos / "red.png")
    done = indexed("reindex", "--model", model)
    assert done.code == 0
    assert "3 were there already" in done.err
    assert f"model       {model}" in indexed("status").out
    assert indexed("search", photos / "blue.png", "-n", "1").code == 0
    assert indexed("index", photos).code == 0


def test_an_unknown_model_makes_no_store(mmsearch: Mmsearch, photos: Path, tmp_path: Path) -> None:
    done = mmsearch("index", photos, "--model", "no-such")
    assert (done.code, "unknown encoder 'no-such'" in done.err) == (4, True)
    assert not (tmp_path / "store").exists()


def test_a_model_folder_that_is_not_there_is_exit_code_4(mmsearch: Mmsearch, photos: Path) -> None:
    done = mmsearch("index", photos, "--model", "onnx:/no/such/folder")
    assert done.code == 4
    assert "/no/such/folder" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_missing_extra_says_what_to_install(
    mmsearch: Mmsearch, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "mmsearch.encoders.openclip", raising=False)
    monkeypatch.delitem(sys.modules, "mmsearch.encoders.torch_backend", raising=False)
    done = mmsearch("index", photos, "--model", "open_clip:ViT-B-32/openai")
    assert done.code == 4
    assert "pip install 'mmsearch[torch]'" in done.err


def test_a_collection_of_another_encoder_is_refused(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    with Store.open(tmp_path / "store") as store:
        from index_store import Space

        store.create_collection("other", Space("other/1", 4), model="color")
    before = indexed("status").out
    done = indexed("index", photos, "--collection", "other")
    assert done.code == 3
    assert "holds other/1" in done.err
    assert indexed("search", "red", "--collection", "other").code == 3
    assert indexed("status").out == before


def test_a_second_writer_is_refused(indexed: Mmsearch, photos: Path, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store"):
        done = indexed("index", photos)
        assert done.code == 3
        assert "another process is writing" in done.err
        assert indexed("search", "red").code == 0


def test_a_newer_store_is_refused(indexed: Mmsearch, photos: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store" / "meta.db") as connection:
        connection.execute("UPDATE kv SET value = '7' WHERE key = 'format'")
    connection.close()
    for command in (["index", photos], ["search", "red"], ["status"]):
        done = indexed(*command)
        assert done.code == 3
        assert "update mmsearch" in done.err


def test_settings_come_from_flag_then_environment_then_files(
    indexed: Mmsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "config" / "mmsearch" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('model = "user-model"\n')
    new = ("index", ".", "--collection", "new")
    assert "user-model" in indexed(*new).err
    (tmp_path / "mmsearch.toml").write_text('model = "project-model"\n')
    assert "project-model" in indexed(*new).err
    monkeypatch.setenv("MMSEARCH_MODEL", "environment-model")
    assert "environment-model" in indexed(*new).err
    assert "flag-model" in indexed(*new, "--model", "flag-model").err
    (tmp_path / "mmsearch.toml").write_text("model = [")
    assert indexed("search", "red").code == 2


def test_what_is_excluded_is_not_indexed_and_forgotten_if_it_was(
    mmsearch: Mmsearch, photos: Path
) -> None:
    assert "2 added" in mmsearch("index", photos, "--model", "color", "--exclude", "nested/").err
    assert "1 added" in mmsearch("index", photos).err
    (photos / ".mmsearchignore").write_text("*.png\n!red.png\n")
    done = mmsearch("index", photos)  # most of them, but they are there: no drive is missing
    assert ("2 removed" in done.err, "--prune" in done.err) == (True, False)
    assert mmsearch("index", photos, "--exclude", "!").code == 2
