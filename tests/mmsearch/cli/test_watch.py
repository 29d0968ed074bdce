"""`mmsearch index --watch`, as a process of its own: the collection follows the folder."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from index_store import Store
from index_store.errors import CollectionNotFound, StoreNotFound
from mmsearch import ingest, load_encoder, read, roots
from tests.mmsearch.conftest import paint

State = dict[str, Any]


class Watch:
    """The process, and what it has stored so far."""

    def __init__(self, folder: Path, store: Path, *options: str) -> None:
        self.store, self.log = store, store.with_name("watch.log")
        command = [sys.executable, "-m", "mmsearch", "index", str(folder), "--watch",
                   *(() if "--model" in options else ("--model", "color")), "--settle", "0.3",
                   "--store", str(store),
                   *options]  # fmt: skip
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.1)

    def names(self) -> list[str]:
        with contextlib.suppress(StoreNotFound, CollectionNotFound):  # not there yet
            with Store.open(self.store, readonly=True) as opened:
                keys = opened.collection("default").keys()
            return sorted(Path(key).name for key in keys)
        return []

    def stop(self) -> int:
        # In the background of a script Ctrl-C is ignored, by processes and their children.
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        self.process.send_signal(signal.SIGTERM if ignored else signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    started: list[Watch] = []

    def start(folder: Path, *options: str) -> Watch:
        watch = Watch(folder, tmp_path / "store", *options)
        started.append(watch)
        watch.wait_for(lambda: "watching" in watch.said())
        return watch

    yield start
    for watch in started:
        watch.process.kill()
        watch.process.wait()


def state(path: Path) -> State:
    """Return all that a collection holds, vectors too."""
    with Store.open(path, readonly=True) as store:
        collection = store.collection("default")
        items = collection.get(collection.keys())
        vectors = collection.vectors([i.key for i in items]).tolist() if items else []
        held: State = {i.key: (i, v) for i, v in zip(items, vectors, strict=True)}
        return held | {f"failed {f.key}": f for f in collection.failures()}


def fresh(folder: Path, path: Path) -> State:
    encoder = load_encoder("color")
    shutil.rmtree(path, ignore_errors=True)
    with Store.open(path, create=True) as store:
        collection = store.create_collection("default", encoder.space)
        ingest(read(str(folder)), encoder, collection, roots=roots(str(folder)))
    return state(path)


class Hands:
    """Somebody who works in a folder, at random."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random = root, random.Random(seed)
        self.made = 0

    def work(self) -> None:
        deeds = {self.create: 6, self.overwrite: 3, self.rename: 3, self.move: 3, self.delete: 3,
                 self.new_folder: 2, self.move_folder: 1, self.delete_folder: 0.4,
                 self.broken: 1, self.slowly: 0.5, self.caption: 1,
                 self.silence: 0.5}  # fmt: skip
        (deed,) = self.random.choices(list(deeds), list(deeds.values()))
        deed()
        time.sleep(self.random.choice([0, 0, 0.01, 0.05]))

    def create(self) -> None:
        self.made += 1
        name = self.random.choice(["a {}.png", "ü{}.PNG", "x'{}.jpg", "-{}.png", "[{}].png"])
        paint(self.folder() / name.format(self.made), self.color())

    def overwrite(self) -> None:
        if path := self.file():
            size = self.random.choice([(40, 30), (30, 40)])
            Image.new("RGB", size, self.color()).save(path, "PNG")

    def rename(self) -> None:
        if path := self.file():
            self.made += 1
            path.rename(path.with_name(f"renamed {self.made}.png"))

    def move(self) -> None:
        if path := self.file():
            path.rename(self.folder() / path.name)

    def delete(self) -> None:
        if path := self.file():
            path.unlink()

    def new_folder(self) -> None:
        self.made += 1
        deep = self.folder() / f"folder {self.made}" / "deep"
        deep.mkdir(parents=True)
        paint(deep / "in it.png", self.color())

    def move_folder(self) -> None:
        self.made += 1
        source, target = self.folder(), self.folder()
        if source != self.root and source not in (target, *target.parents):
            source.rename(target / f"moved {self.made}")

    def delete_folder(self) -> None:
        if (folder := self.folder()) != self.root:
            shutil.rmtree(folder)

    def broken(self) -> None:
        self.made += 1
        (self.folder() / f"broken {self.made}.png").write_bytes(b"no picture")

    def slowly(self) -> None:
        """Write a picture in pieces, as a download does."""
        path = paint(self.root.parent / "elsewhere.png", self.color(), (300, 200))
        data = path.read_bytes()
        self.made += 1
        with (self.folder() / f"slow {self.made}.png").open("wb") as file:
            for at in range(0, len(data), len(data) // 4):
                file.write(data[at : at + len(data) // 4])
                file.flush()
                time.sleep(0.15)

    def caption(self) -> None:
        if path := self.file():
            path.with_suffix(".txt").write_text("red or blue")

    def silence(self) -> None:
        if found := sorted(self.root.rglob("*.txt")):
            self.random.choice(found).unlink()

    def color(self) -> tuple[int, int, int]:
        red, green, blue = self.random.choices(range(256), k=3)
        return red, green, blue

    def folder(self) -> Path:
        return self.random.choice(
            [self.root, *sorted(p for p in self.root.rglob("*") if p.is_dir())]
        )

    def file(self) -> Path | None:
        found = sorted(p for p in self.root.rglob("*") if p.suffix.lower() in {".png", ".jpg"})
        return self.random.choice(found) if found else None


def follows(watching: Callable[..., Watch], tmp_path: Path, deeds: int, seed: int) -> None:
    root = tmp_path / "photos"
    for n in range(5):
        paint(root / f"{n}.png", (40 * n, 9, 99))
    watch = watching(root)
    watch.wait_for(lambda: len(watch.names()) == 5)
    hands = Hands(root, seed)
    for _ in range(deeds):
        hands.work()
    expected = fresh(root, tmp_path / "fresh")
    assert len(expected) > deeds / 25
    watch.wait_for(lambda: state(watch.store) == expected)
    time.sleep(1)  # and it stays so
    assert state(watch.store) == expected
    assert watch.stop() == 130
    assert state(watch.store) == expected


def test_forty_events_at_random_end_like_a_fresh_index(watching, tmp_path: Path) -> None:
    follows(watching, tmp_path, 40, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3])
def test_500_events_at_random_end_like_a_fresh_index(watching, tmp_path: Path, seed: int) -> None:
    follows(watching, tmp_path, 500, seed)


def test_many_deleted_one_by_one_are_believed_and_an_unplugged_folder_is_not(
    watching, tmp_path: Path
) -> None:
    root = tmp_path / "photos"
    for n in range(30):
        paint(root / f"{n}.png", (8 * n, 9, 99))
    watch = watching(root)
    watch.wait_for(lambda: len(watch.names()) == 30)
    for n in range(25):
        (root / f"{n}.png").unlink()
    watch.wait_for(lambda: len(watch.names()) == 5)
    root.rename(tmp_path / "unplugged")
    watch.wait_for(lambda: "offline" in watch.said())
    time.sleep(1)
    assert len(watch.names()) == 5
    paint(tmp_path / "unplugged" / "new.png", "red")
    (tmp_path / "unplugged").rename(root)
    watch.wait_for(lambda: len(watch.names()) == 6)
    assert watch.stop() == 130


def test_a_busy_store_is_waited_for(watching, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    paint(root / "1.png", "red")
    watch = watching(root)
    watch.wait_for(lambda: len(watch.names()) == 1)
    with Store.open(watch.store):  # between batches another process may write
        paint(root / "2.png", "blue")
        watch.wait_for(lambda: "another process is writing" in watch.said())
    watch.wait_for(lambda: len(watch.names()) == 2)
    assert watch.stop() == 130


def test_without_events_everything_is_looked_at_now_and_then(
    watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, real = tmp_path / "photos", tmp_path / "real"
    paint(root / "1.png", "red")
    real.mkdir()
    (root / "link").symlink_to(real)  # what happens behind a link sends no events
    watch = watching(root, "--follow-links", "--every", "1")
    watch.wait_for(lambda: len(watch.names()) == 1)
    paint(real / "2.png", "blue")
    watch.wait_for(lambda: len(watch.names()) == 2)
    assert watch.stop() == 130


def test_watching_takes_folders_alone(mmsearch, photos: Path) -> None:
    for call in (["-"], [photos / "red.png"], [photos, "--format", "json"]):
        done = mmsearch("index", *call, "--watch", "--model", "color")
        assert (done.code, "--watch" in done.err) == (2, True)
    assert not Path(os.environ["MMSEARCH_HOME"]).exists()
