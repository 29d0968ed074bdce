"""What comes of events: batches, once all is written. The clock is the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmsearch import watching
from mmsearch.watching import Batch, Changes


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name in ("a", "b/c", "ab"):
        (tmp_path / name).mkdir(parents=True)
    return str(tmp_path)


def changed(changes: Changes, path: str, text: str = "x") -> None:
    Path(path).write_text(text)
    changes.add(path, folder=False)


def test_a_batch_comes_once_nothing_has_changed_for_a_while(root: str, clock: Clock) -> None:
    changes = Changes([root], settle=1, clock=clock)
    assert changes.take() is None
    changed(changes, f"{root}/a/1.jpg")
    clock.now += 0.5
    changed(changes, f"{root}/b/c/2.jpg")
    clock.now += 0.9
    assert changes.take() is None
    clock.now += 0.2
    assert changes.take() == Batch(((root, f"{root}/a"), (root, f"{root}/b/c")))
    assert changes.take() is None


def test_a_file_that_grows_without_events_is_waited_for(root: str, clock: Clock) -> None:
    changes = Changes([root], settle=1, clock=clock)
    changed(changes, f"{root}/a/1.jpg")
    clock.now += 1.1
    Path(f"{root}/a/1.jpg").write_text("more of it")  # a network drive tells of the first only
    assert changes.take() is None
    clock.now += 1.1
    assert changes.take() is not None


def test_folders_at_rest_go_ahead_of_one_that_is_always_written_to(root: str, clock: Clock) -> None:
    changes = Changes([root], settle=1, patience=10, longest=60, clock=clock)
    changed(changes, f"{root}/a/1.jpg")
    batches = []
    for n in range(140):
        changed(changes, f"{root}/b/webcam.jpg", str(n))
        clock.now += 0.5
        if batch := changes.take():
            batches.append((n // 2, batch.folders))
    # After 10 seconds of patience the one, after 60 the other as it is.
    assert batches == [(9, ((root, f"{root}/a"),)), (59, ((root, f"{root}/b"),))]


def test_a_folder_below_another_is_looked_at_once(root: str, clock: Clock) -> None:
    changes = Changes([root], clock=clock)
    for name in ("b/1.jpg", "b/c/2.jpg", "ab/3.jpg", "a/4.jpg"):
        changed(changes, f"{root}/{name}")
    clock.now += 5
    batch = changes.take()
    assert batch is not None
    assert [Path(f).name for _, f in batch.folders] == ["a", "ab", "b"]


def test_what_cannot_be_a_picture_and_junk_are_no_change(root: str, clock: Clock) -> None:
    changes = Changes([root], clock=clock)
    for name in ("a/1.log", "a/1.jpg~", ".git/1.jpg", "a/@eaDir/1.jpg", "a/x.tmp"):
        changes.add(f"{root}/{name}", folder=False)
    changes.add(f"{root}/.mmsearch", folder=True)
    changes.add("/elsewhere/1.jpg", folder=False)
    clock.now += 5
    assert changes.take() is None
    for name in ("a/1.txt", "captions.csv", "b/.mmsearchignore", "a/1.JPG"):
        changes.add(f"{root}/{name}", folder=False)
    clock.now += 5
    assert changes.take() is not None


def test_what_was_deleted_is_told_with_its_folder(root: str, clock: Clock) -> None:
    changes = Changes([root], clock=clock)
    changes.add(f"{root}/a/1.jpg", folder=False, gone=True)
    changes.add(f"{root}/b/c", folder=True, gone=True)
    clock.now += 5
    batch = changes.take()
    assert batch == Batch(
        ((root, f"{root}/a"), (root, f"{root}/b/c")), (f"{root}/a/1.jpg", f"{root}/b/c")
    )
    assert batch is not None
    changes.put_back(batch)
    clock.now += 5
    assert changes.take() == batch


def test_a_new_folder_is_looked_at_twice(root: str, clock: Clock) -> None:
    changes = Changes([root], clock=clock)
    changes.add(f"{root}/b", folder=True)
    for _ in range(2):
        clock.now += 5
        assert changes.take() == Batch(((root, f"{root}/b"),))
    clock.now += 5
    assert changes.take() is None


def test_after_a_burst_everything_is_looked_at(
    root: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BURST", 10)
    changes = Changes([root], clock=clock)
    for n in range(20):
        changes.add(f"{root}/a/{n}.jpg", folder=False)
    clock.now += 5
    assert changes.take() == Batch(((root, root),))


def test_a_root_that_comes_back_is_looked_at(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(watching, "_ROOTS", 0.05)
    monkeypatch.setattr(watching, "_TICK", 0.02)
    drive = tmp_path / "drive"
    drive.mkdir()
    said: list[str] = []
    with watching.Watcher([str(drive)], settle=0.1, say=said.append) as watcher:
        batches = watcher.batches()
        assert next(batches) == Batch(((str(drive), str(drive)),))
        os.rename(drive, tmp_path / "unplugged")  # noqa: PTH104
        watcher._check_roots()
        assert "offline" in said[-1]
        os.rename(tmp_path / "unplugged", drive)  # noqa: PTH104
        assert next(batches) == Batch(((str(drive), str(drive)),))
        assert "is back" in said[-1]
