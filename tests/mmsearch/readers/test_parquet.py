"""Parquet tables: columns as in csv, and pictures within."""

import io
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from PIL import Image

from index_store import Collection
from mmsearch import Encoder, cells, ingest, read, roots
from mmsearch.errors import BadPicture, BadSource
from mmsearch.sources import open_source
from mmsearch.types import Sample, Skipped

pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")


def write(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def png(color: str | tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


def samples(path: str, **options: Any) -> list[Sample]:
    found = list(read(path, **options))
    assert all(isinstance(s, Sample) for s in found), found
    return [s for s in found if isinstance(s, Sample)]


@pytest.fixture
def paths(tmp_path: Path) -> str:
    """A table of paths, in three row groups."""
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text(name)
    return write(
        tmp_path / "t.parquet",
        {
            "Image": ["a.jpg", "b.jpg", "a.jpg", "lost.jpg", None, None],
            "caption": [["a dog", "a pet"], ["a cat"], ["an animal"], ["x"], ["a text"], []],
            "split": ["train", "test", "train", "test", "test", "test"],
            "taken": [datetime(2024, 5, 1, 12), None, None, None, None, None],
            "n": [1, 2, 3, 4, 5, 6],
        },
        row_group_size=2,
    )


@pytest.fixture
def hub(tmp_path: Path) -> str:
    """A table as Hugging Face's data sets have it: the pictures are inside, 100 in two groups."""
    colors = [(n, 0, 0) for n in range(100)]
    return write(
        tmp_path / "train-00000.parquet",
        {
            "filename": [f"elsewhere/{n}.jpg" for n in range(100)],
            "image": [{"bytes": png(c), "path": f"{n}.png"} for n, c in enumerate(colors)],
            "caption": [[f"number {n}", "red"] for n in range(100)],
            "split": ["train"] * 98 + ["test"] * 2,
        },
        row_group_size=50,
    )


def test_columns_of_paths_follow_the_rules_of_csv(paths):
    found = list(read(paths))
    first, second, text = (s for s in found if isinstance(s, Sample))
    assert first.captions == ("a dog", "a pet", "an animal")
    assert second.captions == ("a cat",)
    meta = first.item.meta
    assert (meta["split"], meta["n"], meta["taken"]) == ("train", 1, "2024-05-01T12:00:00")
    assert (text.item.kind, text.item.text) == ("text", "a text")
    assert text.item.key == f"{paths}#row-5"
    assert [s.reason for s in found if isinstance(s, Skipped)] == [
        "row 6: neither a picture nor a text",
        "row 4: no such file",
    ]


def test_one_split_of_a_parquet_table_can_be_read(paths, hub):
    assert [s.captions for s in samples(paths, split="train")] == [("a dog", "a pet", "an animal")]
    assert len(samples(hub, split="test")) == 2
    with pytest.raises(BadSource, match="no split 'val'; it has test, train"):
        samples(hub, split="val")


def test_each_row_with_a_picture_inside_is_a_picture(hub):
    found = samples(hub)
    assert len(found) == 100
    assert found[7].captions == ("number 7", "red")
    item = found[7].item
    assert (item.key, item.meta["name"], item.meta["folder"]) == (f"{hub}#row-8", "7.png", hub)
    assert item.meta["filename"] == "elsewhere/7.jpg"
    assert found[7].path == ""
    assert open_source(item.uri) == png((7, 0, 0))


def test_cells_are_read_in_any_order_and_from_many_threads(hub):
    found = samples(hub)
    for n in (99, 0, 50, 49, 3, 98, 0):
        assert open_source(found[n].item.uri) == png((n, 0, 0)), n
    wrong = []

    def check(start: int) -> None:
        for n in range(start, 100, 4):
            if open_source(found[n].item.uri) != png((n, 0, 0)):
                wrong.append(n)

    threads = [Thread(target=check, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_in_the_order_of_the_file_each_row_is_decoded_once(hub, monkeypatch):
    starts = []
    start = cells._Column._start
    monkeypatch.setattr(
        cells._Column, "_start", lambda self, row: (starts.append(row), start(self, row))[1]
    )
    for sample in samples(hub):
        open_source(sample.item.uri)
    assert starts == [0, 50]


@pytest.mark.parametrize(
    ("column", "kind"),
    [("image", "binary"), ("Image", "large_binary"), ("url", "binary")],
)
def test_plain_bytes_under_a_known_name_are_pictures(tmp_path, column, kind):
    values = pa.array([png("red")], getattr(pa, kind)())
    (sample,) = samples(write(tmp_path / "t.parquet", {column: values}))
    assert open_source(sample.item.uri) == png("red")
    assert sample.item.meta["name"] == "row-1"


def test_a_structure_without_paths_or_texts_will_do(tmp_path):
    (sample,) = samples(write(tmp_path / "t.parquet", {"img": [{"bytes": png("red")}]}))
    assert open_source(sample.item.uri) == png("red")


def test_an_empty_cell_is_one_failure(tmp_path, encoder: Encoder, collection: Collection):
    path = write(
        tmp_path / "t.parquet",
        {"image": [None, {"bytes": png("red"), "path": None}, {"bytes": None, "path": "x"}]},
    )
    report = ingest(read(path), encoder, collection)
    assert report.added == 1
    assert [s.reason for s in report.skipped] == ["the cell is empty"] * 2


def test_a_file_written_anew_is_noticed(hub):
    old = samples(hub)[0].item.uri
    write(Path(hub), {"image": [{"bytes": png("blue"), "path": "0.png"}]})
    with pytest.raises(BadPicture, match="has changed"):
        open_source(old)
    Path(hub).write_bytes(b"PAR1")
    with pytest.raises(BadPicture, match="no footer"):
        open_source(old)
    Path(hub).unlink()
    with pytest.raises(FileNotFoundError):
        open_source(old)


def test_damage_to_one_row_group_costs_no_picture_of_another(hub):
    found = samples(hub)
    group = pq.read_metadata(hub).row_group(1)
    columns = [group.column(c) for c in range(group.num_columns)]
    (column,) = (c for c in columns if c.path_in_schema == "image.bytes")
    raw = bytearray(Path(hub).read_bytes())
    start = column.dictionary_page_offset
    raw[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    Path(hub).write_bytes(raw)
    for n, sample in enumerate(found[:50]):
        assert open_source(sample.item.uri) == png((n, 0, 0))
    for sample in found[50:]:
        with pytest.raises(BadPicture, match="cannot be decoded"):
            open_source(sample.item.uri)


def test_pictures_inside_are_indexed_once_and_kept(hub, encoder, collection):
    report = ingest(read(hub, split="test"), encoder, collection)
    assert (report.added, report.captions, report.skipped) == (2, 4, [])
    assert ingest(read(hub, split="test"), encoder, collection).unchanged == 2
    folder = str(Path(hub).parent)
    ingest(read(folder), encoder, collection, roots=roots(folder), prune=True)
    assert f"{hub}#row-100" in set(collection.keys())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"station": ["x"], "rain": [1]}, "has no column for pictures .* found: station, rain"),
        ({"station": pa.array([], pa.string())}, "has no column for pictures"),
        (b"PAR1", "cannot be read as parquet"),
        (b"PAR1" + b"x" * 100 + b"PAR1", "cannot be read as parquet"),
        (b"", "cannot be read as parquet"),
    ],
)
def test_what_is_no_table_of_pictures_is_a_bad_source(tmp_path, content, message):
    path = tmp_path / "t.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    with pytest.raises(BadSource, match=message):
        list(read(str(path)))
