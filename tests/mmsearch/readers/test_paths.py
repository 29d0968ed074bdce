import io
import os
import threading
from pathlib import Path

import pytest

from mmsearch.readers.paths import read_path_file, read_paths
from mmsearch.types import Sample, Skipped


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the working directory, with pictures by name only."""
    for name in ("a.jpg", "odd", "sub/b.jpg", "sub/c d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def listed(raw: bytes) -> list[str]:
    found = read_paths(io.BytesIO(raw))
    return [Path(s.path).name for s in found if isinstance(s, Sample)]


@pytest.mark.parametrize(
    "raw",
    [
        b"a.jpg\nodd\nsub\n",
        b"a.jpg\r\n\r\nodd\r\nsub",
        b"a.jpg\0odd\0sub\0",
        b"\xef\xbb\xbfa.jpg\nodd\n./sub/",
    ],
)
def test_paths_are_separated_by_line_ends_or_nuls(folder, raw):
    assert listed(raw) == ["a.jpg", "odd", "b.jpg", "c d.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_nul_separated_names_may_hold_line_breaks(folder):
    (folder / "two\nlines.jpg").write_text("x")
    assert listed(b"two\nlines.jpg\0a.jpg\0") == ["two\nlines.jpg", "a.jpg"]


def test_absolute_paths_and_uris_are_understood(folder):
    uri = (folder / "sub" / "c d.jpg").as_uri()
    assert listed(f"{folder / 'a.jpg'}\n{uri}\n".encode()) == ["a.jpg", "c d.jpg"]


def test_a_path_that_is_not_there_is_reported_and_the_rest_is_read(folder):
    found = list(read_paths(io.BytesIO(b"nowhere.jpg\nfile:///a%00b\na.jpg\n")))
    missing, bad, sample = found
    assert list(read_paths(io.BytesIO(b"a.jpg\n" * 20_000 + b"x\0/y\n")))[-1] != sample
    assert isinstance(missing, Skipped)
    assert (missing.key, missing.reason) == (f"{folder.as_posix()}/nowhere.jpg", "no such file")
    assert isinstance(bad, Skipped)
    assert isinstance(sample, Sample)


def test_a_long_list_is_read_in_pieces(folder):
    assert listed(b"sub/b.jpg\n" * 20_000) == ["b.jpg"] * 20_000


def test_a_picture_is_yielded_before_the_pipe_is_closed(folder):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        # Should the reader wait for more, the pipe is closed in the end and the test fails.
        closing = threading.Timer(20, pipe.close)
        closing.start()
        pipe.write(b"a.j")
        pipe.write(b"pg\nsub")
        first = next(read_paths(stream))
        assert not pipe.closed
        closing.cancel()
    assert isinstance(first, Sample)
    assert first.path.endswith("a.jpg")


def test_the_same_picture_has_the_same_item_however_it_was_found(folder):
    from mmsearch.readers.folder import read_folder

    (folder / "sub" / "b.txt").write_text("a caption")
    (by_path,) = read_paths(io.BytesIO(b"sub/b.jpg"))
    assert by_path == next(read_folder("sub"))


def test_a_text_file_lists_paths_relative_to_itself(folder, monkeypatch):
    (folder / "sub" / "list.txt").write_text("b.jpg\n../a.jpg\n")
    monkeypatch.chdir("/")
    found = read_path_file(str(folder / "sub" / "list.txt"))
    assert [s.path for s in found if isinstance(s, Sample)] == [
        str(folder / "sub" / "b.jpg"),
        str(folder / "a.jpg"),
    ]
