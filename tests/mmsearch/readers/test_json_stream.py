import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers import json_stream as module
from mmsearch.readers.json_stream import json_stream

DATA = {
    "info": {"year": 2014},
    "skipped": [[1, 2], {"a": "]}"}, 3],
    "wanted": [1, -2.5e3, 'ä \\ " \n', None, True, {"deep": [{}]}, []],
    "last": "x",
}


def write(folder: Path, text: str) -> str:
    (folder / "x.json").write_text(text, encoding="utf-8")
    return str(folder / "x.json")


def wanted(path: str) -> Iterator[Any]:
    with json_stream(path) as stream:
        for name in stream.members():
            if name == "wanted":
                yield from stream.elements()


@pytest.mark.parametrize("block", [1, 2, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_within_is_read_wherever_the_blocks_end(tmp_path, monkeypatch, block, indent):
    monkeypatch.setattr(module, "_BLOCK", block)
    path = write(tmp_path, json.dumps(DATA, indent=indent))
    assert list(wanted(path)) == DATA["wanted"]
    with json_stream(path) as stream:
        assert {name: stream.value() for name in stream.members()} == DATA
    with json_stream(write(tmp_path, json.dumps(DATA["wanted"], indent=indent))) as stream:
        assert list(stream.elements()) == DATA["wanted"]


@pytest.mark.parametrize("text", ["[]", "[ ]\n", "{}", "\ufeff[]"])
def test_what_is_empty_has_no_entries(tmp_path, text):
    with json_stream(write(tmp_path, text)) as stream:
        entries = stream.elements() if stream.peek() == "[" else stream.members()
        assert list(entries) == []


@pytest.mark.parametrize(
    ("text", "found", "message"),
    [
        ('{"wanted": [1, 2', [1], "it ends before ',' or ']'"),
        ('{"wanted": [1, oops', [1], "Expecting value at character 15"),
        ('{"wanted": [1 2]}', [1], "'2' instead of ',' or ']' at character 14"),
        ('{"wanted" [1]}', [], "'\\[' instead of ':'"),
        ("[1]", [], "'\\[' instead of '{'"),
        ('{"wanted": ["a' + "\n" + '"]}', [], "Invalid control character at"),
        ("", [], "it ends before '{'"),
        ('{"wanted": [' + "[" * 100_000, [], "is no JSON"),
    ],
)
def test_of_a_broken_file_what_comes_before_is_read(tmp_path, text, found, message):
    entries = wanted(write(tmp_path, text))
    assert list(itertools.islice(entries, len(found))) == found
    with pytest.raises(BadSource, match=message):
        list(entries)


def test_an_entry_without_an_end_is_not_read_to_the_end_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 10)
    monkeypatch.setattr(module, "ENTRY_CHARACTERS", 100)
    path = write(tmp_path, '{"wanted": ["' + "x" * 10_000)
    with json_stream(path) as stream, pytest.raises(ValueError, match="Unterminated"):
        list(stream.members())
    assert len(stream._text) < 1000


def test_a_file_that_is_not_there_or_no_text_is_a_bad_source(tmp_path):
    with pytest.raises(BadSource, match="cannot be read"), json_stream(str(tmp_path)):
        pass
    (tmp_path / "x.json").write_bytes(b'["\xff"]')
    with pytest.raises(BadSource, match="is no JSON"):
        list(wanted(str(tmp_path / "x.json")))
