"""Another model for a collection: all of it or nothing of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Failure, Space, Store
from index_store.errors import CollectionNotFound
from mmsearch import Encoder, Engine, Query, ingest, read
from mmsearch.reindexing import STAGING, ReindexReport, reindex
from mmsearch.types import Array, Vectors


class Turned:
    """The colour encoder with its axes in reverse: another space of another name."""

    def __init__(self, encoder: Encoder, fail_after: int | None = None) -> None:
        self.space = Space("turned/1", encoder.space.dim)
        self.image_size = encoder.image_size
        self.embedded = 0
        self._encoder, self._fail_after = encoder, fail_after

    def prepare(self, image) -> Array:
        return self._encoder.prepare(image)

    def encode_images(self, batch: Array) -> Vectors:
        if self._fail_after is not None and self.embedded >= self._fail_after:
            raise KeyboardInterrupt
        self.embedded += len(batch)
        return np.ascontiguousarray(self._encoder.encode_images(batch)[:, ::-1])

    def encode_texts(self, texts) -> Vectors:
        return np.ascontiguousarray(self._encoder.encode_texts(texts)[:, ::-1])


@pytest.fixture
def filled(photos: Path, encoder: Encoder, collection: Collection) -> Collection:
    (photos / "red.txt").write_text("something red")
    ingest(read(str(photos)), encoder, collection)
    collection.add_failures([Failure("/gone.png", "", "cut short")])
    return collection


def found(collection: Collection, encoder: Encoder, text: str) -> str:
    return Path(Engine(collection, encoder).search(Query(text, k=1))[0].item.key).name


def test_after_the_switch_the_new_model_answers_about_the_same_items(
    filled: Collection, store: Store, encoder: Encoder
) -> None:
    before = filled.get(filled.keys())
    turned = Turned(encoder)
    report = reindex(store, "default", turned, "turned")
    assert (report.switched, report.embedded, report.total) == (True, 4, 4)
    new = store.collection("default")
    assert (new.space, new.model) == (turned.space, "turned")
    assert new.get(new.keys()) == before
    assert [f.key for f in new.failures()] == ["/gone.png"]
    assert found(new, turned, "blue") == "blue.png"
    assert store.collections() == ["default"]
    assert len(list((store.path / "vec").iterdir())) == 2
    assert store.verify(full=True) == []


def test_who_still_holds_the_old_collection_is_told(
    filled: Collection, store: Store, encoder: Encoder
) -> None:
    reindex(store, "default", Turned(encoder), "turned")
    with pytest.raises(CollectionNotFound):
        filled.search(np.eye(4, dtype=np.float32)[:1], 1)


def test_searches_go_on_while_it_runs_and_an_interrupted_run_goes_on(
    filled: Collection, store: Store, encoder: Encoder
) -> None:
    answers: list[str] = []

    def ask(report: ReindexReport) -> None:
        with Store.open(store.path, readonly=True) as reader:
            answers.append(found(reader.collection("default"), encoder, "green"))

    with pytest.raises(KeyboardInterrupt):
        reindex(store, "default", Turned(encoder, 2), "turned", batch_size=1, progress=ask)
    assert store.collection("default").space == encoder.space
    second = Turned(encoder)
    report = reindex(store, "default", second, "turned", batch_size=1, progress=ask)
    assert set(answers) == {"green.png"}
    assert (report.switched, second.embedded) == (True, 1)
    assert report.embedded + report.resumed == 4


def test_a_staging_of_yet_another_model_is_begun_anew(
    filled: Collection, store: Store, encoder: Encoder
) -> None:
    store.create_collection("default" + STAGING, Space("third/1", 7))
    assert reindex(store, "default", Turned(encoder), "turned").embedded == 4
    assert store.collections() == ["default"]


def test_pictures_that_cannot_be_read_hold_the_switch_back(
    filled: Collection, store: Store, photos: Path, encoder: Encoder
) -> None:
    (photos / "red.png").unlink()
    report = reindex(store, "default", Turned(encoder), "turned")
    assert (report.switched, [Path(m.key).name for m in report.missing]) == (False, ["red.png"])
    assert found(store.collection("default"), encoder, "red") == "red.png"
    report = reindex(store, "default", Turned(encoder), "turned", drop_missing=True)
    assert report.switched
    assert store.collection("default").count("image") == 2


def test_the_same_model_needs_nothing(filled: Collection, store: Store, encoder: Encoder) -> None:
    seq = filled.seq()
    assert reindex(store, "default", encoder, "color").switched
    assert filled.seq() == seq


def test_what_was_done_between_two_runs_counts(
    filled: Collection, store: Store, photos: Path, encoder: Encoder
) -> None:
    with pytest.raises(KeyboardInterrupt):
        reindex(store, "default", Turned(encoder, 2), "turned", batch_size=1)
    staged = store.collection("default" + STAGING).keys()
    first, second = sorted(k for k in staged if k.endswith(".png"))
    filled.delete([first])
    (item,) = filled.get([second])
    filled.update([replace(item, meta={**item.meta, "tags": ["mine"]})])  # same stamp, same file
    before = filled.get(filled.keys())
    report = reindex(store, "default", Turned(encoder), "turned")
    assert report.switched
    new = store.collection("default")
    assert new.get(new.keys()) == before
    assert store.verify(full=True) == []


def test_what_cannot_be_read_is_forgotten_with_its_captions(
    filled: Collection, store: Store, photos: Path, encoder: Encoder
) -> None:
    with pytest.raises(KeyboardInterrupt):  # red.png may be there from the first run
        reindex(store, "default", Turned(encoder, 3), "turned", batch_size=1, progress=_stop)
    (photos / "red.png").write_bytes(b"no picture")
    (item,) = filled.get([str(photos / "red.png")])
    filled.update([replace(item, stamp="1-1")])
    assert reindex(store, "default", Turned(encoder), "turned", drop_missing=True).switched
    left = store.collection("default").keys()
    assert [Path(k).name for k in left] == ["green.png", "blue.png"]


def _stop(report: ReindexReport) -> None:
    if report.embedded == report.total:
        raise KeyboardInterrupt
