import json
import os
from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers import table
from mmsearch.readers.table import NoColumns, read_table
from mmsearch.types import Sample, Skipped


@pytest.fixture
def folder(tmp_path):
    """Return a folder with three files that are pictures by name only."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_text(name)
    return tmp_path.resolve()


def rows(folder: Path, name: str, text: str | bytes, **options: str) -> list[Sample | Skipped]:
    raw = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(raw)
    return list(read_table(str(folder / name), **options))


def captions(found: list[Sample | Skipped]) -> dict[str, tuple[str, ...]]:
    assert all(isinstance(s, Sample) for s in found), found
    return {Path(s.path).name: s.captions for s in found if isinstance(s, Sample)}


def reasons(found: list[Sample | Skipped]) -> list[str]:
    return [s.reason for s in found if isinstance(s, Skipped)]


@pytest.mark.parametrize("picture", table.PICTURE_COLUMNS)
@pytest.mark.parametrize("text", table.TEXT_COLUMNS)
def test_every_known_column_is_recognised_whatever_its_capitals(folder, picture, text):
    found = rows(folder, "t.csv", f"{picture.upper()},{text.title()}\na.jpg,a dog\n")
    assert captions(found) == {"a.jpg": ("a dog",)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "image,caption\na.jpg,a dog\nb.jpg,a cat\n"),
        ("t.csv", "image;caption\na.jpg;a dog\nb.jpg;a cat\n"),
        ("t.csv", '\ufeffimage,caption\r\na.jpg,"a dog"\r\n\r\nb.jpg,a cat\r\n'),
        ("t.csv", "image,caption\na.jpg,a\0 dog\nb.jpg,a cat"),
        ("t.csv", "image,caption\na.jpg,a dog\nb.jpg,a cat\n".encode("utf-16")),
        ("t.TSV", "image\tcaption\na.jpg\ta dog\nb.jpg\ta cat\n"),
        (
            "t.jsonl",
            '{"image": "a.jpg", "caption": "a dog"}\n\n{"image": "b.jpg", "text": "a cat"}',
        ),
    ],
)
def test_the_usual_dialects_say_the_same(folder, name, text):
    assert captions(rows(folder, name, text)) == {"a.jpg": ("a dog",), "b.jpg": ("a cat",)}


def test_quoted_cells_may_hold_separators_line_breaks_and_long_texts(folder):
    long = "x" * 200_000  # the csv module stops at 131,072 unless told
    found = rows(folder, "t.csv", f'image,caption\na.jpg,"a, b\nc ""d"""\nb.jpg,{long}\n')
    assert captions(found) == {"a.jpg": ('a, b\nc "d"',), "b.jpg": (long,)}


def test_rows_of_one_picture_become_one_sample_wherever_they_stand(folder):
    text = "image,caption,by\na.jpg,one,\nb.jpg,two,\n./a.jpg,three,anna\n"
    found = rows(folder, "t.csv", text)
    assert captions(found) == {"a.jpg": ("one", "three"), "b.jpg": ("two",)}
    assert isinstance(found[0], Sample)
    assert found[0].item.meta["by"] == "anna"


def test_of_a_table_too_large_to_hold_only_neighbours_are_merged(folder, monkeypatch):
    monkeypatch.setattr(table, "GROUPED_BYTES", 10)
    text = "image,caption\na.jpg,one\na.jpg,two\nb.jpg,three\na.jpg,four\n"
    found = [s.captions for s in rows(folder, "t.csv", text) if isinstance(s, Sample)]
    assert found == [("one", "two"), ("three",), ("four",)]


def test_other_columns_become_meta_and_never_hide_what_the_file_says(folder):
    text = "image,caption,year,price,code,note,bytes\na.jpg,x,2011,1.50,007,,1\n"
    (sample,) = rows(folder, "t.csv", text)
    assert isinstance(sample, Sample)
    meta = dict(sample.item.meta)
    assert meta.pop("mtime")
    assert meta == {
        "year": 2011, "price": 1.5, "code": "007",
        "name": "a.jpg", "folder": folder.as_posix(), "bytes": 5,
    }  # fmt: skip


def test_jsonl_meta_keeps_scalars_and_drops_what_cannot_be_filtered_by(folder):
    record = {
        "image": "a.jpg", "caption": ["one", " two "], "n": 3, "ok": True, "x": 0.5, "none": None,
        "list": [1], "map": {}, "big": 2**70, "odd": "\ud800!",
        "nan": float("nan"),
    }  # fmt: skip
    (sample,) = rows(folder, "t.jsonl", json.dumps(record))
    assert isinstance(sample, Sample)
    assert sample.captions == ("one", "two")
    ours = {"name", "folder", "bytes", "mtime"}
    assert {k: v for k, v in sample.item.meta.items() if k not in ours} == {
        "n": 3, "ok": True, "x": 0.5, "big": str(2**70), "odd": "\ufffd!",
    }  # fmt: skip


def test_a_row_with_a_text_and_no_picture_is_a_text_item(folder):
    found = rows(folder, "t.csv", "image,text,lang\na.jpg,a dog,en\n,just words,en\n")
    _, words = found
    assert isinstance(words, Sample)
    assert words.path == ""
    assert words.item.kind == "text"
    assert words.item.text == "just words"
    assert words.item.key == f"{folder.as_posix()}/t.csv#row-3"
    assert words.item.meta == {"lang": "en"}
    again = rows(folder, "t.csv", "text,lang\nx,en\njust words,en\n")[1]
    assert isinstance(again, Sample)
    assert again.item == words.item
    changed = rows(folder, "t.csv", "text,lang\nx,en\njust WORDS,en\n")[1]
    assert isinstance(changed, Sample)
    assert changed.item.key == words.item.key
    assert changed.item.stamp != words.item.stamp


def test_rows_that_cannot_be_used_are_reported_by_number_and_the_rest_is_read(folder):
    (folder / "sub").mkdir()
    text = "image,caption\nnowhere.jpg,x\n,\nsub,x\nhttps://x.org/a.jpg,x\na.svg,x\na.jpg,ok\n ,\n"
    (folder / "a.svg").write_text("<svg/>")
    found = rows(folder, "t.csv", text)
    assert captions([s for s in found if isinstance(s, Sample)]) == {"a.jpg": ("ok",)}
    assert sorted(reasons(found)) == [
        "row 2: no such file",
        "row 4: not a file",
        "row 5: remote pictures are not fetched",
        "row 6: SVG is a drawing, not pixels; export it as PNG",
        "row 8: neither a picture nor a text",
    ]


def test_a_line_that_is_no_json_object_is_reported_and_the_rest_is_read(folder):
    found = rows(folder, "t.jsonl", '{"image": "a.jpg"}\n{oops\n[1]\n{"image": "b.jpg"}\n')
    assert [Path(s.path).name for s in found if isinstance(s, Sample)] == ["a.jpg", "b.jpg"]
    first, second = reasons(found)
    assert first.startswith("row 2: not JSON: ")
    assert second == "row 3: not a JSON object"


def test_paths_may_be_absolute_uris_or_with_backslashes(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "d e.jpg").write_text("x")
    paths = [folder / "a.jpg", (folder / "b.jpg").as_uri(), "sub\\d e.jpg", "sub/../c.jpg"]
    found = rows(folder, "t.csv", "\n".join(["image", *map(str, paths)]))
    assert list(captions(found)) == ["a.jpg", "b.jpg", "d e.jpg", "c.jpg"]
    assert isinstance(found[3], Sample)
    assert found[3].item.key == f"{folder.as_posix()}/c.jpg"


def test_a_file_name_that_is_no_utf8_is_found_by_its_bytes(folder):
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(b"x")
    except (OSError, UnicodeError):
        pytest.skip("this file system refuses such names")
    (sample,) = rows(folder, "t.csv", b"image,caption\ncaf\xe9.jpg,caf\xe9\n")
    assert isinstance(sample, Sample)
    assert sample.item.key.endswith("/caf%E9.jpg")
    assert sample.captions == ("caf\ufffd",)


def test_only_the_edited_row_changes_its_stamp(folder):
    def stamps(text: str) -> list[str]:
        found = rows(folder, "t.csv", text)
        return [s.item.stamp for s in found if isinstance(s, Sample)]

    before = stamps("image,caption,n\na.jpg,one,1\nb.jpg,two,1\nc.jpg,three,1\n")
    after = stamps("image,caption,n\na.jpg,one,1\nb.jpg,TWO,1\nc.jpg,three,2\n")
    assert [x == y for x, y in zip(before, after, strict=True)] == [True, False, False]


def test_one_split_of_a_table_can_be_read(folder):
    text = "image,caption,split\na.jpg,x,train\nb.jpg,y,test\nc.jpg,z,val\n"
    assert list(captions(rows(folder, "t.csv", text, split="test"))) == ["b.jpg"]
    assert list(captions(rows(folder, "t.csv", text, split="train, val"))) == ["a.jpg", "c.jpg"]
    with pytest.raises(BadSource, match="no split 'tset'; it has test, train, val"):
        rows(folder, "t.csv", text, split="tset")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "station,rain\n1,2\n", r"found: station, rain"),
        ("t.csv", "", r"found: none"),
        ("t.tsv", "image,caption\na.jpg,x\n", r"pictures \(filepath, .*texts \(caption, "),
        ("t.jsonl", '{"a": 1}\n', r"found: a"),
        ("t.jsonl", "oops\n", r"no line of .* is a JSON object"),
    ],
)
def test_a_table_without_usable_columns_says_what_it_has_and_what_is_known(
    folder, name, text, message
):
    with pytest.raises(BadSource, match=message):
        rows(folder, name, text)


def test_a_table_that_cannot_be_read_is_a_bad_source(tmp_path):
    with pytest.raises(BadSource, match="cannot be read"):
        list(read_table(str(tmp_path)))
    assert issubclass(NoColumns, BadSource)
