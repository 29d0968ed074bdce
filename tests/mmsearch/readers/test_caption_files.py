import pytest

from mmsearch.readers.captions import BYTES, LINES, captions_beside


@pytest.mark.parametrize(
    ("raw", "captions"),
    [
        (b"", ()),
        (b"one\r\ntwo\r\n", ("one", "two")),
        (b"\xef\xbb\xbfcaf\xc3\xa9\n", ("café",)),
        ("café".encode("utf-16"), ("café",)),
        (b"caf\xe9", ("caf\ufffd",)),
        (b"a\0b", ("ab",)),
    ],
)
def test_each_line_is_a_caption_in_any_usual_encoding(tmp_path, raw, captions):
    (tmp_path / "a.txt").write_bytes(raw)
    assert captions_beside(str(tmp_path / "a.txt")) == captions


def test_no_more_than_the_first_hundred_lines_are_read(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(map(str, range(300))))
    assert captions_beside(str(tmp_path / "a.txt")) == tuple(map(str, range(LINES)))


def test_of_a_long_file_only_whole_lines_are_read(tmp_path):
    line = "ä" * 5000
    (tmp_path / "a.txt").write_text("\n".join([line] * 20), encoding="utf-8")
    captions = captions_beside(str(tmp_path / "a.txt"))
    assert captions == (line,) * (BYTES // 10001)
