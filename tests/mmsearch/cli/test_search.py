"""`mmsearch search` and `batch`: formats, filters, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


def paths(out: str) -> list[str]:
    return [Path(line).name for line in out.splitlines()]


def test_a_text_finds_its_picture(indexed: Mmsearch) -> None:
    done = indexed("search", "a blue thing", "--format", "paths", "-n", "2")
    assert (done.code, done.err) == (0, "")
    assert paths(done.out)[0] == "blue.png"
    assert len(paths(done.out)) == 2


def test_an_argument_that_is_a_file_is_a_picture_query(indexed: Mmsearch, tmp_path: Path) -> None:
    query = paint(tmp_path / "red.bmp", (255, 0, 0), (9, 9))
    assert paths(indexed("search", query, "--format", "paths").out)[0] == "red.png"
    done = indexed("search", "red.bmp", "--text", "--format", "json")
    assert json.loads(done.out)["query"]["text"] == "red.bmp"


def test_a_picture_name_that_is_no_file_is_pointed_out(indexed: Mmsearch) -> None:
    done = indexed("search", "gone.jpg")
    assert "there is no file 'gone.jpg'" in done.err


def test_captions_are_found_with_kind_text(indexed: Mmsearch, photos: Path) -> None:
    done = indexed("search", photos / "red.png", "--kind", "text")
    assert "something red" in done.out


def test_json_has_the_documented_shape(indexed: Mmsearch, photos: Path) -> None:
    found = json.loads(indexed("search", "green", "--format", "json", "-n", "1").out)
    assert list(found) == ["schema", "query", "hits"]
    assert found["schema"] == 1
    assert found["query"] == {"text": "green", "image": None, "kind": "image", "k": 1}
    (hit,) = found["hits"]
    assert list(hit) == ["rank", "score", "key", "kind", "path", "text", "meta", "state"]
    assert (hit["rank"], hit["kind"], hit["text"]) == (1, "image", "")
    assert hit["path"] == str(photos / "green.png")
    assert hit["meta"]["width"] == 40


def test_jsonl_csv_and_tsv_hold_the_same_hits(indexed: Mmsearch) -> None:
    whole = json.loads(indexed("search", "green", "--format", "json").out)["hits"]
    lines = indexed("search", "green", "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == whole
    for format_, delimiter in (("csv", ","), ("tsv", "\t")):
        out = indexed("search", "green", "--format", format_).out
        rows = list(csv.DictReader(io.StringIO(out), delimiter=delimiter))
        assert [r["path"] for r in rows] == [h["path"] for h in whole]
        assert [float(r["score"]) for r in rows] == [h["score"] for h in whole]


def test_null_ends_paths_for_xargs(indexed: Mmsearch) -> None:
    out = indexed("search", "green", "-0").out
    assert out.count("\0") == 3
    assert "\n" not in out


def test_the_table_shows_rank_score_and_path(indexed: Mmsearch) -> None:
    first = indexed("search", "green").out.splitlines()[0].split()
    assert first[0] == "1"
    assert first[2].endswith("green.png")


def test_filters_and_globs_narrow_the_answer(indexed: Mmsearch) -> None:
    done = indexed("search", "red", "--where", "name = 'blue.png'", "--format", "paths")
    assert paths(done.out) == ["blue.png"]
    done = indexed("search", "red", "--path", "nested/*", "--format", "paths")
    assert paths(done.out) == ["blue.png"]
    done = indexed(
        "search", "red", "--path", "nested/*", "--path", "photos/g*", "--format", "paths"
    )
    assert sorted(paths(done.out)) == ["blue.png", "green.png"]


def test_no_hit_is_exit_code_1(indexed: Mmsearch) -> None:
    done = indexed("search", "red", "--where", "width > 1000")
    assert (done.code, done.out) == (1, "")
    done = indexed("search", "red", "--where", "width > 1000", "--format", "json")
    assert (done.code, json.loads(done.out)["hits"]) == (1, [])


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["search", "red", "--where", "width >"], 2, "bad filter"),
        (["search", ""], 2, "empty"),
        (["search", "red", "-n", "0"], 2, "0"),
        (["search", "red", "--collection", "other"], 3, "it has: 'default'"),
        (["search", "red", "--store", "nowhere"], 3, "no index in nowhere"),
        (["search", "red", "--model", "colour"], 4, "did you mean 'color'?"),
        (["search", "notes.txt"], 2, "cannot search by notes.txt"),
        (["serch", "red"], 2, "Did you mean 'search'?"),
    ],
)
def test_a_wrong_call_is_one_clear_line(
    indexed: Mmsearch, args: list[str], code: int, message: str
) -> None:
    Path("notes.txt").write_text("no picture")
    done = indexed(*args)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_errors_are_json_where_json_was_asked_for(indexed: Mmsearch) -> None:
    done = indexed("search", "red", "--collection", "other", "--format", "json")
    error = json.loads(done.err)["error"]
    assert (done.code, error["exit_code"], error["type"]) == (3, 3, "CollectionNotFound")


def test_a_batch_answers_each_line(indexed: Mmsearch, photos: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text(f"red\n\n{photos / 'green.png'}\nblue\n")
    done = indexed("batch", queries, "-n", "1")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [Path(a["hits"][0]["path"]).name for a in answers] == [
        "red.png",
        "green.png",
        "blue.png",
    ]
    assert [a["schema"] for a in answers] == [1, 1, 1]


@pytest.mark.parametrize("format_", ["table", "json", "csv", "tsv", "paths"])
def test_a_batch_in_every_format_names_every_hit(
    indexed: Mmsearch, tmp_path: Path, format_: str
) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("red\nblue\n")
    out = indexed("batch", queries, "-n", "1", "--format", format_).out
    assert out.index("red.png") < out.index("blue.png")


def test_a_batch_by_torch_finds_the_same(indexed: Mmsearch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "q.txt").write_text("red\nblue\n")
    usual = indexed("batch", tmp_path / "q.txt", "--format", "paths")
    done = indexed("batch", tmp_path / "q.txt", "--format", "paths", "--device", "cpu")
    assert (done.code, done.out) == (0, usual.out)
    done = indexed("batch", tmp_path / "q.txt", "--device", "tpu9")
    assert done.code == 4
    assert "'tpu9'" in done.err


def test_a_batch_reads_standard_input(indexed: Mmsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"red\n")))
    assert "red.png" in indexed("batch", "-").out


@pytest.mark.skipif(os.name == "nt", reason="Windows names are Unicode")
def test_odd_names_print_safely_and_exactly(mmsearch: Mmsearch, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    try:
        odd = os.fsencode(folder) + b"/a\x1b[31m\xff\n.png"
        paint(tmp_path / "red.png", "red").rename(os.fsdecode(odd))
    except OSError:
        pytest.skip("this file system refuses such a name")
    assert mmsearch("index", folder, "--model", "color").code == 0
    table = mmsearch("search", "red").out
    assert "\x1b" not in table
    assert "\\x1b[31m\\xff\\x0a.png" in table
    assert os.fsencode(mmsearch("search", "red", "-0").out) == odd + b"\0"
    path = json.loads(mmsearch("search", "red", "--format", "json").out)["hits"][0]["path"]
    assert os.fsencode(path) == odd
    assert "\\udcff" in mmsearch("search", "red", "--format", "csv").out
