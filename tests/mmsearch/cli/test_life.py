"""The life of a collection: plans, drives that are not there, pruning, folders that move."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


def plan(mmsearch: Mmsearch, *args: object) -> dict[str, object]:
    done = mmsearch("index", *args, "--dry-run", "--format", "json")
    assert done.code == 0, done.err
    found: dict[str, object] = json.loads(done.out)["plan"]
    keys = {n: [Path(k).name for k in v] for n, v in found.items() if isinstance(v, list) and v}
    return keys | {n: v for n, v in found.items() if isinstance(v, int) and v}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    mmsearch: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    done = mmsearch("index", photos, "--model", "color", "--dry-run")
    assert (done.code, "3 new" in done.err, "about 1 s" in done.err) == (0, True, True)
    assert "pictures a second, measured now" in done.err
    assert not (tmp_path / "store").exists()

    mmsearch("index", photos, "--model", "color")
    paint(photos / "red.png", (200, 0, 0), (50, 50))
    (photos / "green.png").rename(photos / "nested" / "moved.png")
    (photos / "nested" / "blue.png").unlink()
    paint(photos / "new.png", "white")
    (photos / "drawing.svg").write_text("<svg/>")
    before = mmsearch("status").out
    assert plan(mmsearch, photos) == {
        "new": ["new.png"], "changed": ["red.png"], "moved": ["moved.png"],
        "removed": ["blue.png"], "refused": ["drawing.svg"],
    }  # fmt: skip
    assert mmsearch("status").out == before
    done = mmsearch("index", photos)
    assert ("2 added, 1 updated, 1 reused" in done.err, "1 removed" in done.err) == (True, True)


def test_a_dry_run_knows_the_brake_and_the_speed_of_the_last_run(
    mmsearch: Mmsearch, photos: Path
) -> None:
    for n in range(60):
        paint(photos / "many" / f"{n}.png", (4 * n, 9, 9))
    mmsearch("index", photos, "--model", "color")
    shutil.rmtree(photos / "many")
    paint(photos / "new.png", "white")
    assert plan(mmsearch, photos)["held_back"] == 60
    assert len(plan(mmsearch, photos, "--prune")["removed"]) == 60  # type: ignore[arg-type]
    assert "the last run" in mmsearch("index", photos, "--dry-run").err


def test_without_a_path_the_known_folders_are_indexed(
    mmsearch: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    assert mmsearch("index").code == 2
    other = paint(tmp_path / "other" / "white.png", "white").parent
    mmsearch("index", photos, other, "--model", "color")
    paint(other / "black.png", "black")
    (other / "white.png").rename(photos / "white.png")  # over roots, too
    done = mmsearch("index")
    assert ("2 added, 1 reused" in done.err, "3 unchanged" in done.err) == (True, True)
    assert "pictures    5" in mmsearch("status").out


def test_what_is_on_a_drive_that_is_not_there_is_offline_and_kept(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    (photos / "green.png").unlink()
    hits = json.loads(indexed("search", "red", "--format", "json").out)["hits"]
    states = {Path(h["path"]).name: h["state"] for h in hits}
    assert states == {"red.png": "ok", "blue.png": "ok", "green.png": "missing"}
    photos.rename(tmp_path / "unplugged")
    for n in range(2):
        assert "red.png  (offline)" in indexed("search", "red").out
        done = indexed("index", photos) if n else indexed("index")
        assert (done.code, "is offline; what is indexed of it is kept" in done.err) == (2, True)
    photos.mkdir()  # an empty mount point
    assert "red.png  (offline)" in indexed("search", "red").out
    assert "(offline)" in indexed("status").out
    assert "--prune" in indexed("index").err
    done = indexed("prune", "--format", "json")
    assert json.loads(done.out) == {"schema": 1, "forgotten": [], "offline": 3, "dry_run": False}
    photos.rmdir()
    (tmp_path / "unplugged").rename(photos)
    assert "1 removed" in indexed("index").err


def test_prune_forgets_what_no_run_looks_at(mmsearch: Mmsearch, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        paint(tmp_path / f"{name}.png", "red")
    (tmp_path / "a.txt").write_text("red")
    mmsearch("index", *tmp_path.glob("*.png"), "--model", "color")
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").unlink()
    done = mmsearch("prune", "--dry-run")
    assert done.out.splitlines() == [f"{tmp_path}/a.png", f"{tmp_path}/b.png"]
    assert "pictures    3" in mmsearch("status").out
    assert mmsearch("prune", tmp_path / "a.png", "--format", "paths").out == f"{tmp_path}/a.png\n"
    assert "1 pictures forgotten" in mmsearch("prune").err
    status = mmsearch("status").out
    assert ("pictures    1" in status, "texts       0" in status) == (True, True)


def test_a_folder_that_is_gone_for_good_is_forgotten_on_demand(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    assert f"\nfolder      {photos}" in indexed("status").out
    shutil.rmtree(photos)
    assert "3 offline are kept" in indexed("prune").err
    assert "3 pictures forgotten" in indexed("prune", photos, "--offline").err
    assert "\nfolder  " not in indexed("status").out


def test_a_portable_collection_is_found_from_below_and_moves_with_its_folder(
    mmsearch: Mmsearch, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMSEARCH_HOME")
    assert mmsearch("index", photos, "--portable", "--model", "color").code == 0
    assert (photos / ".mmsearch" / "meta.db").is_file()
    monkeypatch.chdir(photos / "nested")
    assert "blue.png" in mmsearch("search", "blue", "-n", "1").out

    away = tmp_path / "other drive" / "pictures"
    away.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    photos.rename(away)
    monkeypatch.chdir(away / "nested")
    done = mmsearch("search", "blue", "-n", "1", "--format", "paths")
    assert done.out == f"{away}/nested/blue.png\n"
    assert "has moved here" in done.err
    done = mmsearch("search", "blue", "-n", "1")
    assert "moved" not in done.err
    paint(away / "white.png", "white")
    done = mmsearch("index")  # the known folder has moved with it
    assert ("1 added, 3 unchanged" in done.err, "removed" in done.err) == (True, False)


def test_portable_takes_one_folder_and_no_store(mmsearch: Mmsearch, photos: Path) -> None:
    for call in ([photos, photos], [photos / "red.png"], [photos, "--store", "elsewhere"]):
        done = mmsearch("index", *call, "--portable", "--model", "color")
        assert (done.code, "--portable" in done.err) == (2, True)


def test_a_folder_that_was_moved_by_name_stays_known(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    photos.rename(tmp_path / "album")
    assert indexed("move-root", photos, tmp_path / "album").code == 0
    assert "3 unchanged" in indexed("index").err


def test_pictures_inside_other_files_are_found_and_shown_by_their_place(
    mmsearch: Mmsearch, photos: Path
) -> None:
    with zipfile.ZipFile(photos / "album.zip", "w") as album:
        album.write(photos / "green.png", "in it.png")
    (photos / "green.png").unlink()
    assert "2 added" in mmsearch("index", photos, "--model", "color").err
    assert "1 added" in mmsearch("index", photos, "--inside", "zip").err
    hit = mmsearch("search", "green", "-n", "1")
    assert f"{photos}/album.zip#in it.png" in hit.out
    paths = mmsearch("search", "green", "-n", "1", "--format", "paths").out
    assert paths == f"{photos}/album.zip\n"
    (photos / "album.zip").unlink()
    assert "1 removed" in mmsearch("index", photos).err
