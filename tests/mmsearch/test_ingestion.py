"""What a run of ingest does to a collection, and what it leaves alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from index_store import Collection, Compare, Space
from index_store.errors import SpaceMismatch
from mmsearch import Encoder, IngestReport, ingest, read, roots
from mmsearch.planning import plan
from mmsearch.types import Array, Item, Sample, Skipped, Vectors
from tests.mmsearch.conftest import paint


class Counting:
    """The encoder, and how many pictures and texts it was given."""

    def __init__(self, encoder: Encoder) -> None:
        self.space, self.image_size = encoder.space, encoder.image_size
        self.pictures = self.texts = 0
        self.batch: int | None = None
        self._encoder = encoder

    def prepare(self, image) -> Array:
        return self._encoder.prepare(image)

    def encode_images(self, batch: Array) -> Vectors:
        self.pictures += len(batch)
        return self._encoder.encode_images(batch)

    def encode_texts(self, texts) -> Vectors:
        self.texts += len(texts)
        return self._encoder.encode_texts(texts)


@pytest.fixture
def counting(encoder: Encoder) -> Counting:
    return Counting(encoder)


def run(folder: Path, encoder: Encoder, collection: Collection, **options) -> IngestReport:
    source = str(folder)
    return ingest(read(source), encoder, collection, roots=roots(source), **options)


def names(collection: Collection) -> list[str]:
    keys = collection.keys()
    return sorted(Path(k).name for k in keys)


def touch_later(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


def test_a_folder_is_stored_with_what_its_files_say(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    report = run(photos, encoder, collection)
    assert (report.added, report.skipped) == (3, [])
    (item,) = collection.get([(photos / "nested" / "blue.png").as_posix()])
    assert item.meta["width"] == 40
    assert item.meta["name"] == "blue.png"
    assert item.content


def test_a_second_run_opens_nothing(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    run(photos, counting, collection)
    seq = collection.seq()
    report = run(photos, counting, collection)
    assert (report.added, report.unchanged, counting.pictures) == (0, 3, 3)
    assert collection.seq() == seq


def test_a_changed_picture_is_embedded_again(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    run(photos, counting, collection)
    before = collection.vectors([(photos / "red.png").as_posix()])
    touch_later(paint(photos / "red.png", "yellow"))
    report = run(photos, counting, collection)
    assert (report.updated, report.unchanged, counting.pictures) == (1, 2, 4)
    assert collection.count() == 3
    assert (collection.vectors([(photos / "red.png").as_posix()]) != before).any()


@pytest.mark.parametrize("change", ["touch", "rename", "move folder", "copy"])
def test_what_only_moved_is_not_embedded_again(
    photos: Path, counting: Counting, collection: Collection, change: str
) -> None:
    run(photos, counting, collection)
    vectors = {Path(k).name: v for k, v in _vectors(collection).items()}
    if change == "touch":
        touch_later(photos / "red.png")
    elif change == "rename":
        (photos / "red.png").rename(photos / "rouge.png")
        vectors["rouge.png"] = vectors.pop("red.png")
    elif change == "move folder":
        (photos / "nested").rename(photos / "elsewhere")
    else:
        (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
        vectors["copy.png"] = vectors["red.png"]
    report = run(photos, counting, collection)
    assert counting.pictures == 3
    assert report.reused == 1
    assert report.held_back == 0
    assert {Path(k).name: v for k, v in _vectors(collection).items()} == vectors
    for item in collection.get(collection.keys()):
        assert item.meta["width"] == 40
    assert run(photos, counting, collection).unchanged == len(vectors)


def _vectors(collection: Collection) -> dict[str, list[float]]:
    keys = collection.keys()
    return dict(zip(keys, collection.vectors(keys).tolist(), strict=True))


def test_equal_pictures_in_one_batch_are_embedded_once(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    for n in range(5):
        (photos / f"copy{n}.png").write_bytes((photos / "red.png").read_bytes())
    report = run(photos, counting, collection)
    assert (report.added, counting.pictures) == (8, 3)
    vectors = {Path(k).name: v for k, v in _vectors(collection).items()}
    assert vectors["copy3.png"] == vectors["red.png"] != vectors["green.png"]


def test_a_broken_picture_is_reported_and_the_rest_is_stored(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    (photos / "bad.png").write_bytes((photos / "red.png").read_bytes()[:60])
    report = run(photos, counting, collection)
    assert report.added == 3
    assert [Path(s.key).name for s in report.skipped] == ["bad.png"]
    (failure,) = collection.failures()
    assert failure.reason

    again = run(photos, counting, collection)
    assert (again.known_failures, again.skipped) == (1, [])
    retried = run(photos, counting, collection, retry=True)
    assert len(retried.skipped) == 1

    touch_later(paint(photos / "bad.png", "blue"))
    mended = run(photos, counting, collection)
    assert (mended.added, collection.failures()) == (1, [])


def test_a_failure_is_forgotten_when_its_file_is_gone(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    run(photos, encoder, collection)
    (photos / "bad.png").unlink()
    run(photos, encoder, collection)
    assert collection.failures() == []


def test_a_picture_that_is_gone_is_forgotten_with_its_captions(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "red.txt").write_text("a red thing\nnothing else\n")
    run(photos, encoder, collection)
    assert collection.count("text") == 2
    (photos / "red.png").unlink()
    report = run(photos, encoder, collection)
    assert report.removed == 1
    assert names(collection) == ["blue.png", "green.png"]


def test_an_unplugged_drive_loses_nothing(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    run(photos, encoder, collection)
    for path in [*photos.glob("*.png"), *photos.glob("nested/*")]:
        path.unlink()
    report = run(photos, encoder, collection)
    assert (report.held_back, report.removed, collection.count()) == (3, 0, 3)
    report = run(photos, encoder, collection, prune=True)
    assert (report.held_back, report.removed, collection.count()) == (0, 3, 0)


def test_other_folders_are_not_touched_by_what_is_gone_here(
    photos: Path, tmp_path: Path, encoder: Encoder, collection: Collection
) -> None:
    other = paint(tmp_path / "photos2" / "one.png", "white").parent
    run(photos, encoder, collection)
    run(other, encoder, collection)
    (photos / "red.png").unlink()
    run(photos, encoder, collection, prune=True)
    assert names(collection) == ["blue.png", "green.png", "one.png"]


def test_below_a_folder_that_could_not_be_read_nothing_counts_as_gone(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    run(photos, encoder, collection)
    nested = (photos / "nested").as_posix()
    samples: list[Sample | Skipped] = [
        s for s in read(str(photos)) if isinstance(s, Sample) and nested not in s.item.key
    ]
    samples.append(Skipped(f"{nested}/", "", "permission denied"))
    report = ingest(samples, encoder, collection, roots=roots(str(photos)), prune=True)
    assert (report.removed, collection.count("image")) == (0, 3)


def test_captions_become_texts_that_know_their_picture(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    (photos / "red.txt").write_text("a red thing\nnothing else\n")
    report = run(photos, counting, collection)
    assert report.captions == 2
    key = (photos / "red.png").as_posix()
    captions = collection.get([f"{key}#caption-0", f"{key}#caption-1"])
    assert [(c.kind, c.text, c.meta["picture"]) for c in captions] == [
        ("text", "a red thing", key),
        ("text", "nothing else", key),
    ]


def test_changed_captions_are_replaced_without_embedding_the_picture(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    (photos / "red.txt").write_text("a red thing\nnothing else\n")
    run(photos, counting, collection)
    (photos / "red.txt").write_text("something dark red")
    run(photos, counting, collection)
    assert counting.pictures == 3
    texts = [i.text for i in collection.get(collection.keys()) if i.kind == "text"]
    assert texts == ["something dark red"]


@pytest.mark.parametrize("emptied", [False, True])
def test_captions_go_when_the_file_that_told_them_is_gone(
    photos: Path, counting: Counting, collection: Collection, emptied: bool
) -> None:
    (photos / "red.txt").write_text("a red thing\nnothing else\n")
    (photos / "green.txt").write_text("a green thing\n")
    run(photos, counting, collection)
    if emptied:
        (photos / "red.txt").write_text("\n")
    else:
        (photos / "red.txt").unlink()
    made = plan(read(str(photos)), collection, roots=roots(str(photos)))
    assert [Path(k).name for k in made.changed] == ["red.png"]
    report = run(photos, counting, collection)
    assert (report.updated, report.reused, report.unchanged) == (1, 1, 2)
    assert counting.pictures == 3
    texts = [i.text for i in collection.get(collection.keys()) if i.kind == "text"]
    assert texts == ["a green thing"]
    assert run(photos, counting, collection).unchanged == 3


def test_captions_of_a_replaced_picture_go_with_their_file(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "red.txt").write_text("a red thing")
    run(photos, encoder, collection)
    key = (photos / "red.png").as_posix()
    written = Item(f"{key}#caption-model", "text", text="red", meta={"picture": key})
    collection.add([written], encoder.encode_texts(["red"]))
    (photos / "red.txt").write_text("something red")
    run(photos, encoder, collection)
    assert collection.keys(Compare("kind", "=", "text")) == [f"{key}#caption-0", written.key]
    (photos / "red.txt").unlink()
    paint(photos / "red.png", "white", (50, 50))
    run(photos, encoder, collection)
    assert collection.count("text") == 0


def test_captions_stay_where_it_is_not_known_what_their_file_says(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "red.txt").write_text("a red thing")
    run(photos, encoder, collection)
    (photos / "red.txt").unlink()
    if sys.platform == "linux":
        (photos / "red.txt").symlink_to("/proc/self/mem")  # a file that does not let itself be read
        report = ingest(read(str(photos), follow_links=True), encoder, collection)
        assert (report.unchanged, len(report.skipped), collection.count("text")) == (3, 1, 1)
        (photos / "red.txt").unlink()
    table = photos.parent / "pairs.csv"
    table.write_text("image,score\nphotos/green.png,1\nphotos/red.png,1\n")
    run(table, encoder, collection)
    assert collection.count("text") == 1  # a table does not look beside the picture


def test_a_source_without_captions_leaves_those_that_are_there(
    photos: Path, tmp_path: Path, counting: Counting, collection: Collection
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("image,caption\nphotos/red.png,a red thing\n")
    run(table, counting, collection)
    report = run(photos, counting, collection)
    assert (report.added, report.unchanged, collection.count("text")) == (2, 1, 1)


def test_texts_alone_are_stored(tmp_path: Path, encoder: Encoder, collection: Collection) -> None:
    table = tmp_path / "texts.csv"
    table.write_text("caption\nred\nblue\n")
    assert run(table, encoder, collection).added == 2
    assert collection.count("text") == 2


def test_every_commit_is_acknowledged_once_it_is_there(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    acknowledged: list[str] = []

    def committed(items: list[Item]) -> None:
        assert len(collection.get([i.key for i in items])) == len(items)
        acknowledged.extend(i.key for i in items)

    run(photos, encoder, collection, batch_size=1, committed=committed)
    assert sorted(acknowledged) == collection.keys()


@pytest.mark.parametrize(("own", "given", "sizes"), [(2, None, [2, 1]), (2, 1, [1, 1, 1]),
                                                     (None, None, [3])])  # fmt: skip
def test_a_batch_is_as_large_as_the_encoder_likes_unless_told(
    own: int | None, given: int | None, sizes: list[int],
    photos: Path, counting: Counting, collection: Collection,
) -> None:  # fmt: skip
    counting.batch = own
    stored: list[int] = []
    run(photos, counting, collection, batch_size=given, committed=lambda i: stored.append(len(i)))
    assert stored == sizes


def test_an_interrupted_run_keeps_what_was_committed_and_goes_on(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    def interrupted() -> Iterator[Sample | Skipped]:
        samples = list(read(str(photos)))
        yield from samples[:2]
        raise KeyboardInterrupt

    commits = 0

    def count(_: object) -> None:
        nonlocal commits
        commits += 1

    with pytest.raises(KeyboardInterrupt):
        ingest(interrupted(), counting, collection, roots=roots(str(photos)), progress=count)
    # One commit of a whole batch or none; nothing is removed by a listing that broke off.
    assert len(names(collection)) == (2 if commits else 0)
    report = run(photos, counting, collection)
    assert report.added + report.unchanged == 3
    assert collection.count() == 3


def test_the_same_file_named_twice_is_stored_once(
    photos: Path, counting: Counting, collection: Collection
) -> None:
    samples = [*read(str(photos)), *read(str(photos / "red.png"))]
    assert ingest(samples, counting, collection).added == 3


def test_another_encoder_is_refused_before_anything_is_read(
    photos: Path, encoder: Encoder, store
) -> None:
    other = store.create_collection("other", Space("other/1", 4))
    with pytest.raises(SpaceMismatch):
        run(photos, encoder, other)
