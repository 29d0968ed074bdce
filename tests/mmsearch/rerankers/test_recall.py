"""A picture's tokens are those of its bytes as they are now, and are worked out once."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch import Query, read
from mmsearch.errors import BadPicture
from mmsearch.images import open_picture
from mmsearch.rerankers import recall
from mmsearch.rerankers.places import Place, place_of_query
from mmsearch.rerankers.recall import Recall
from mmsearch.rerankers.token_cache import TokenCache, Tokens, held
from mmsearch.sources import open_source
from mmsearch.types import Array
from mmsearch.uris import content_hash, uri_of

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path / "cache")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files for settled as soon as they are written: tests do not wait two seconds."""
    monkeypatch.setattr(recall, "_SETTLED_NS", -(10**12))


class Mean:
    """Works out a picture's mean colour, and counts."""

    def __init__(self, limit: int = 1_000_000, made_by: str = "mean") -> None:
        cache = TokenCache(limit) if limit else None
        self._recall, self.met = Recall(cache, [made_by], 1), 0

    def __call__(self, *places: Place) -> list[list[int] | None]:
        found = self._recall(places, self._encode)
        return [None if one is None else one["mean"].tolist() for one in found]

    def _encode(self, sources: Sequence[Any]) -> list[Tokens | None]:
        self.met += len(sources)
        return [None if mean is None else {"mean": mean} for mean in map(_mean, sources)]


def _mean(source: Any) -> Array | None:
    try:
        if isinstance(source, str) and source.startswith("file:"):
            source = open_source(source)
        image = source if isinstance(source, Image.Image) else open_picture(source).image
        return np.asarray(image).mean((0, 1)).astype(np.uint8)
    except (BadPicture, OSError):
        return None


def paint(path: Path, color: tuple[int, int, int]) -> Place:
    """Paint a picture; those of all colours have as many bytes."""
    Image.new("RGB", (8, 6), color).save(path)
    return Place(uri_of(path), path.name, content=content_hash(path))


@pytest.mark.usefixtures("settled")
def test_a_picture_is_worked_out_once_by_each_model(tmp_path: Path) -> None:
    one, other = paint(tmp_path / "a.bmp", RED), paint(tmp_path / "b.bmp", BLUE)
    first, second, third = Mean(), Mean(), Mean(made_by="mean, version 2")
    assert first(one, other) == second(other, one)[::-1] == third(one, other) == [[*RED], [*BLUE]]
    assert (first.met, second.met, third.met) == (2, 0, 2)
    assert Mean(limit=0)(one) == [[*RED]]


@pytest.mark.usefixtures("settled")
def test_a_copy_a_renamed_file_and_a_question_are_known_by_their_bytes(tmp_path: Path) -> None:
    one = paint(tmp_path / "a.bmp", RED)
    Mean()(one)
    shutil.copy(tmp_path / "a.bmp", tmp_path / "copy.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "moved.bmp")
    mean = Mean()
    moved = replace(one, source=uri_of(tmp_path / "moved.bmp"))
    copy = Place(uri_of(tmp_path / "copy.bmp"), "copy.bmp")  # its hash is not known
    asked = place_of_query(Query(image=str(tmp_path / "copy.bmp")))
    assert mean(moved, copy, asked, moved) == [[*RED]] * 4
    assert mean.met == 0
    assert mean(place_of_query(Query(image=Image.new("RGB", (4, 4), BLUE)))) == [[*BLUE]]


@pytest.mark.usefixtures("settled")
@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell the time of the last change")
def test_a_file_that_changed_is_never_answered_from_old_tokens(tmp_path: Path) -> None:
    """Not even if it has the same name, size and time, and the index still tells of the old one."""
    path = tmp_path / "a.bmp"
    indexed = paint(path, RED)
    assert Mean()(indexed) == Mean()(indexed) == [[*RED]]
    before = path.stat()
    time.sleep(0.05)  # a tick of the disk's clock; without it a file counts as changed just now
    with path.open("r+b") as file:  # in place: the same number on the disk
        Image.new("RGB", (8, 6), BLUE).save(file, "BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size, before.st_mtime_ns, before.st_ino
    )  # fmt: skip
    mean = Mean()
    assert mean(indexed) == [[*BLUE]]
    assert mean.met == 1
    again = Mean()
    assert again(indexed) == [[*BLUE]]  # by its own bytes' tokens
    assert again.met == 0
    paint(path, RED)
    assert Mean()(indexed) == [[*RED]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose bytes were read."""
    found: list[Path] = []
    whole = Path.read_bytes

    def noted(path: Path) -> bytes:
        found.append(path)
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    return found


def test_a_file_that_changed_just_now_is_hashed_each_time(
    tmp_path: Path, reads: list[Path]
) -> None:
    path = tmp_path / "a.bmp"
    indexed = paint(path, RED)
    for color in (RED, BLUE, RED, BLUE):
        paint(path, color)
        assert Mean()(indexed) == [[*color]]
    indexed = paint(path, BLUE)
    reads.clear()
    mean = Mean()
    assert mean(indexed) == mean(indexed) == [[*BLUE]]
    assert (mean.met, len(reads)) == (0, 2)


@pytest.mark.usefixtures("settled")
def test_what_is_known_is_not_read_again(tmp_path: Path, reads: list[Path]) -> None:
    one = paint(tmp_path / "a.bmp", RED)
    Mean()(one)
    reads.clear()
    assert Mean()(one) == [[*RED]]
    assert reads == []
    (tmp_path / "a.bmp").rename(tmp_path / "b.bmp")
    moved = replace(one, source=uri_of(tmp_path / "b.bmp"))
    assert Mean()(moved) == Mean()(moved) == [[*RED]]
    assert len(reads) == 1  # the first time under its new name


@pytest.mark.usefixtures("settled")
def test_what_is_gone_or_no_picture_has_no_tokens(tmp_path: Path) -> None:
    one = paint(tmp_path / "a.bmp", RED)
    broken, folder, fifo = tmp_path / "broken.bmp", tmp_path / "folder.bmp", tmp_path / "fifo.bmp"
    broken.write_bytes(b"BM and no more")
    folder.mkdir()
    places = [Place(uri_of(p), p.name) for p in (broken, folder, tmp_path / "none.bmp")]
    if hasattr(os, "mkfifo"):
        os.mkfifo(fifo)
        places.append(Place(uri_of(fifo), "fifo.bmp"))
    places += [Place("https://example.org/a.jpg", ""), Place("file:", ""), Place("", "")]
    assert Mean()(one, *places) == [[*RED], *[None] * len(places)]
    assert held()[0] == 1
    (tmp_path / "a.bmp").unlink()
    assert Mean()(one) == [None]


@pytest.mark.usefixtures("settled")
def test_a_member_of_a_tar_is_kept_too(tmp_path: Path) -> None:
    for name, color in (("a.bmp", RED), ("b.bmp", BLUE)):
        paint(tmp_path / name, color)
    with tarfile.open(tmp_path / "both.tar", "w") as tar:
        for name in ("a.bmp", "b.bmp"):
            tar.add(tmp_path / name, name)
    places = [Place(s.item.uri, "") for s in read(str(tmp_path / "both.tar"))]  # type: ignore[union-attr]
    assert sorted(map(str, Mean()(*places))) == [str([*BLUE]), str([*RED])]
    mean = Mean()
    mean(*places, *places)
    assert mean.met == 0


@pytest.mark.usefixtures("settled")
def test_a_damaged_entry_is_worked_out_again(tmp_path: Path) -> None:
    one = paint(tmp_path / "a.bmp", RED)
    Mean()(one)
    (entry,) = (p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    entry.write_bytes(entry.read_bytes()[:-1] + b"\x77")
    mean = Mean()
    assert mean(one) == [[*RED]]
    assert mean.met == 1
    again = Mean()
    assert again(one) == [[*RED]]
    assert again.met == 0


def test_many_pictures_are_worked_out_a_few_at_a_time(tmp_path: Path) -> None:
    places = [paint(tmp_path / f"{n}.bmp", (n, 0, 0)) for n in range(40)]
    sizes: list[int] = []

    def encode(sources: Sequence[Any]) -> list[Tokens | None]:
        sizes.append(len(sources))
        return [{"mean": mean} for mean in map(_mean, sources) if mean is not None]

    for cache in (TokenCache(1_000_000), None):
        sizes.clear()
        found = Recall(cache, ["x"], 2)(places, encode)
        assert [int(one["mean"][0]) for one in found if one] == [*range(40)]
        assert (sum(sizes), max(sizes)) == (40, recall.AT_ONCE)
