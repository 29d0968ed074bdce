"""The options of a collection's life, on photographs with the model that ships."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.photos import photos_folder
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.cli.test_watch import Watch

NAMES = {"chelsea": "cat", "coffee": "cup", "motorcycle_left": "bike", "astronaut": "woman"}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    pytest.importorskip("skimage")
    folder = tmp_path / "album"
    folder.mkdir()
    for name, short in NAMES.items():
        with Image.open(photos_folder() / f"{name}.png") as image:
            small = image.convert("RGB")
        small.thumbnail((256, 256))
        small.save(folder / f"{short}.jpg", quality=90)
    return folder


def best(mmsearch: Mmsearch, query: str | Path) -> str:
    done = mmsearch("search", query, "-n", "1", "--format", "json")
    return Path(json.loads(done.out)["hits"][0]["key"]).name


def test_rules_links_retry_and_prune(mmsearch: Mmsearch, album: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (album / "woman.jpg").rename(tmp_path / "elsewhere" / "woman.jpg")
    (album / "link").symlink_to(tmp_path / "elsewhere")
    (album / "link" / "back").symlink_to(album)  # a loop
    call = ["index", album, "--model", "starter"]
    assert "about" in mmsearch(*call, "--dry-run").err
    assert "3 added" in mmsearch(*call, "--exclude", "b*/").err
    done = mmsearch(*call, "--follow-links", "--exclude", "bike.*")
    assert ("1 added" in done.err, "1 removed" in done.err) == (True, True)
    assert best(mmsearch, tmp_path / "elsewhere" / "woman.jpg") == "woman.jpg"
    (album / "cup.jpg").write_bytes((album / "cup.jpg").read_bytes()[:700])
    assert mmsearch(*call).code == 5
    assert mmsearch(*call, "--retry").code == 5
    for path in album.glob("*.jpg"):
        path.unlink()
    assert "--prune" in mmsearch(*call).err
    assert mmsearch(*call, "--prune").code == 0
    assert "pictures    0" in mmsearch("status").out


def test_pictures_inside_other_files(mmsearch: Mmsearch, album: Path) -> None:
    pytest.importorskip("pypdfium2")
    av = pytest.importorskip("av")
    with zipfile.ZipFile(album / "a.cbz", "w") as comic:
        comic.write(album / "cat.jpg", "cat.jpg")
    with Image.open(album / "cup.jpg") as cup:
        cup.save(album / "paper.pdf")
    with av.open(str(album / "film.mp4"), "w") as film, Image.open(album / "bike.jpg") as bike:
        stream = film.add_stream("mpeg4", rate=5)
        size = (bike.width // 2 * 2, bike.height // 2 * 2)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(10):
            film.mux(stream.encode(av.VideoFrame.from_image(bike.resize(size))))
        film.mux(stream.encode())
    for name in ("cat", "cup", "bike"):
        (album / f"{name}.jpg").unlink()
    call = ["index", album, "--model", "starter"]
    assert "1 added" in mmsearch(*call).err
    assert "3 added" in mmsearch(*call, "--inside", "all").err
    assert best(mmsearch, "a cat") == "a.cbz#cat.jpg"
    assert best(mmsearch, "a cup of coffee") == "paper.pdf#page=1"
    assert best(mmsearch, "a motorcycle") == "film.mp4#t=0"
    assert mmsearch("search", "a cat", "--format", "html").code == 0  # previews open them
    assert mmsearch("reindex", "--model", "color").code == 0


def test_a_portable_album_moves_and_goes_offline(
    mmsearch: Mmsearch, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMSEARCH_HOME")
    assert mmsearch("index", album, "--portable", "--model", "starter").code == 0
    away = tmp_path / "away"
    shutil.move(album, away)
    monkeypatch.chdir(away)
    assert best(mmsearch, "a cat") == "cat.jpg"
    (away / "cup.jpg").unlink()
    assert "1 pictures forgotten" in mmsearch("prune").err
    monkeypatch.chdir(tmp_path)
    assert "the user's data folder" in mmsearch("search", "--help").out
    assert mmsearch("search", "a cat").code == 3  # none here


def test_an_album_under_watch(album: Path, tmp_path: Path) -> None:
    watch = Watch(album, tmp_path / "store", "--model", "starter", "--every", "60")
    try:
        watch.wait_for(lambda: "watching" in watch.said())
        (album / "cat.jpg").rename(album / "kitty.jpg")
        shutil.copy(album / "cup.jpg", album / "copy.jpg")
        watch.wait_for(lambda: {"kitty.jpg", "copy.jpg"} <= set(watch.names()))
        assert "cat.jpg" not in watch.names()
        assert "2 reused" in watch.said()
        command = [sys.executable, "-m", "mmsearch", "search", "a cat", "-n", "1",
                   "--store", str(watch.store)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "kitty.jpg" in done.stdout
        assert watch.stop() == 130
    finally:
        watch.process.send_signal(signal.SIGKILL)
        watch.process.wait()
