"""`compact`, `rebuild`, `repair`, `move-root`, `snapshot`, `restore`, `export`, `import`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from index_store import Store
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


def keys(path: Path) -> list[str]:
    with Store.open(path, readonly=True) as store:
        found = store.collection("default").keys()
    return [Path(k).name for k in found]


ALL = ["green.png", "blue.png", "red.png", "red.png#caption-0"]


def test_compact_says_what_it_gave_back(indexed: Mmsearch, photos: Path) -> None:
    paint(photos / "red.png", "yellow")
    indexed("index", photos)
    assert "2 dead" in indexed("compact", "--dry-run").err
    assert "nothing to give back" in indexed("compact", "--least", "60").err
    assert "2 dead" in indexed("compact", "--least", "20", "--dry-run").err
    done = indexed("compact")
    assert (done.code, done.out) == (0, "")
    assert "2 dead vectors removed" in done.err
    assert "nothing to give back" in indexed("compact").err
    assert indexed("verify", "--full").code == 0


def test_rebuild_needs_no_model(indexed: Mmsearch) -> None:
    done = indexed("rebuild")
    assert done.code == 0
    assert "images: searched exactly" in done.err


def damage(store: Path, kind: str = "image") -> None:
    file = next((store / "vec").glob(f"*-{kind}-*"))
    file.write_bytes(file.read_bytes()[:65])


def test_repair_embeds_again_what_was_lost(indexed: Mmsearch, tmp_path: Path) -> None:
    found = indexed("search", "red", "--format", "paths").out
    damage(tmp_path / "store")
    assert indexed("repair", "--dry-run").code == 3
    assert indexed("verify").code == 3
    done = indexed("repair")
    assert done.code == 0, done.err
    assert "3 items embedded again" in done.err
    assert indexed("verify", "--full").code == 0
    assert indexed("search", "red", "--format", "paths").out == found
    assert indexed("failures").out == ""
    assert "no damage found" in indexed("repair").err


def test_repair_without_a_model_leaves_what_was_lost_to_the_next_index(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    damage(tmp_path / "store")
    done = indexed("repair", "--no-embed", "--quiet")
    assert (done.code, "3 items are lost for now" in done.err) == (5, True)
    assert len(indexed("failures").out.splitlines()) == 3
    assert indexed("index", photos).code == 0
    assert indexed("search", "red", "--format", "paths").out.count(".png") == 3


def test_what_cannot_be_read_is_a_failure_until_it_can(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    damage(tmp_path / "store")
    (photos / "red.png").rename(tmp_path / "red.png")
    done = indexed("repair")
    assert done.code == 5
    assert "1 items are lost for now" in done.err
    assert "red.png" in indexed("failures").out
    (tmp_path / "red.png").rename(photos / "red.png")
    assert indexed("index", photos).code == 0
    assert indexed("failures").out == ""
    assert sorted(keys(tmp_path / "store")) == sorted(ALL)


def test_move_root_renames_without_reading_anything(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "elsewhere")
    shutil.rmtree(photos)
    would = indexed("move-root", photos, tmp_path / "elsewhere", "--dry-run")
    assert (would.code, "4 items" in would.err) == (0, True)
    assert indexed("move-root", photos, tmp_path / "elsewhere").code == 0
    first = indexed("search", "red", "-n", "1", "--format", "paths").out.strip()
    assert first == str(tmp_path / "elsewhere" / "red.png")
    assert "3 unchanged" in indexed("index", tmp_path / "elsewhere").err
    assert sorted(keys(tmp_path / "store")) == sorted(ALL)
    assert indexed("move-root", photos, tmp_path / "elsewhere").code == 1
    assert indexed("move-root", photos, photos).code == 2


def test_move_root_refuses_names_that_are_taken(indexed: Mmsearch, photos: Path) -> None:
    paint(photos / "other" / "blue.png", "blue")
    indexed("index", photos)
    done = indexed("move-root", photos / "nested", photos / "other")
    assert done.code == 3
    assert "nothing was changed" in done.err


def test_a_snapshot_can_be_searched_and_restored(indexed: Mmsearch, tmp_path: Path) -> None:
    snap, store = tmp_path / "snap", tmp_path / "store"
    assert indexed("snapshot", snap).code == 0
    assert indexed("snapshot", snap).code == 3
    assert indexed("search", "red", "--store", snap).code == 0
    assert indexed("restore", snap).code == 3
    shutil.rmtree(store)
    assert indexed("restore", snap).code == 0
    assert sorted(keys(store)) == sorted(ALL)
    assert "what was there is in" in indexed("restore", snap, "--replace").err


def test_an_export_is_imported_and_a_second_time_nothing_happens(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra: parquet")
    (photos / "bad.png").write_text("no picture")
    indexed("index", photos)
    out, new = tmp_path / "out", tmp_path / "new"
    assert indexed("export", out).code == 0
    table = parquet.read_table(next(out.glob("*.parquet")))
    assert [Path(k).name for k in table["key"].to_pylist()] == keys(tmp_path / "store")
    assert "4 added" in indexed("import", out, "--store", new).err
    assert "4 unchanged" in indexed("import", out, "--store", new).err
    assert keys(new) == keys(tmp_path / "store")
    assert "bad.png" in indexed("failures", "--store", new).out
    assert indexed("search", "red", "--store", new).out == indexed("search", "red").out
    assert indexed("export", out).code == 3


def test_a_changed_export_is_refused_before_anything_is_stored(
    indexed: Mmsearch, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra: parquet")
    out, new = tmp_path / "out", tmp_path / "new"
    indexed("export", out)
    assert indexed("import", out, "--only", "other", "--store", new).code == 2
    assert not new.exists()
    file = next(out.glob("*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    done = indexed("import", out, "--store", new)
    assert (done.code, "hash differs" in done.err) == (2, True)
    with Store.open(new, readonly=True) as store:
        assert store.collections() == []
    file.write_bytes(whole)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["collections"][0]["files"][0]["name"] = "../secret"
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert indexed("import", out, "--store", new).code == 2


def test_a_restored_snapshot_knows_its_folders_and_keeps_what_is_offline(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    snap, new = tmp_path / "snap", tmp_path / "new"
    assert indexed("snapshot", snap).code == 0
    assert indexed("restore", snap, "--store", new).code == 0
    assert "3 unchanged" in indexed("index", "--store", new).err  # without a path
    photos.rename(tmp_path / "unplugged")
    for store in (snap, new):
        assert "(offline)" in indexed("search", "red", "--store", store).out
    assert "0 pictures forgotten, 3 offline are kept" in indexed("prune", "--store", new).err
    assert sorted(keys(new)) == sorted(ALL)


def test_an_import_knows_its_folders_and_keeps_what_is_offline(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    out, new = tmp_path / "out", tmp_path / "new"
    assert indexed("export", out).code == 0
    assert indexed("import", out, "--store", new).code == 0
    photos.rename(tmp_path / "unplugged")
    assert "0 pictures forgotten, 3 offline are kept" in indexed("prune", "--store", new).err
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["collections"][0]["folders"] = ["http://example.org/"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert "is no manifest of an export" in indexed("import", out, "--store", new).err
    del manifest["collections"][0]["folders"]  # as versions before this one wrote it
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert indexed("import", out, "--store", tmp_path / "old").code == 0


def test_move_root_from_and_to_the_root_of_all_folders(indexed: Mmsearch, photos: Path) -> None:
    assert indexed("move-root", "/", "/mnt/old").code == 0
    hit = json.loads(indexed("search", "red", "-n", "1", "--format", "jsonl").out)
    assert hit["path"] == f"/mnt/old{photos}/red.png" == hit["key"]
    assert indexed("move-root", "/mnt/old", "/").code == 0
    with Store.open(photos.parent / "store") as store:
        (item,) = store.collection("default").get([str(photos / "red.png")])
    assert item.uri == (photos / "red.png").as_uri()
