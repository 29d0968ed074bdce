import hashlib
import os
import sys
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest

from mmsearch.uris import (
    clean,
    content_hash,
    is_text,
    key_of,
    path_of,
    printable,
    stamp_of,
    uri_of,
)

posix_only = pytest.mark.skipif(os.name == "nt", reason="paths of POSIX systems")
NAMES = ["a.jpg", "é ü.jpg", "50% #1?.jpg", "a\\b;c&d.jpg", "line\nbreak.jpg", "日本🦊.png", "~x"]


def undecodable(folder: str) -> str:
    """Return a path whose name is Latin-1, as old archives unpack."""
    return os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")


@posix_only
@pytest.mark.parametrize("name", NAMES)
def test_a_uri_is_what_pathlib_writes_and_leads_back_to_the_path(name):
    path = f"/photos/{name}"
    assert uri_of(path) == Path(path).as_uri()
    assert path_of(uri_of(path)) == path


@posix_only
def test_every_byte_of_a_name_survives_the_way_to_a_uri_and_back():
    name = bytes(b for b in range(1, 256) if b != ord("/"))
    path = os.fsdecode(b"/photos/" + name)
    uri = uri_of(path)
    assert uri.isascii()
    assert os.fsencode(path_of(uri)) == b"/photos/" + name


@posix_only
def test_a_key_is_the_absolute_path_without_dots(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert key_of("x/../a.jpg") == f"{Path.cwd()}/a.jpg"
    assert key_of("//photos/a.jpg") == "/photos/a.jpg"
    assert key_of("/") == "/"


@posix_only
def test_a_name_that_is_no_utf8_has_its_uri_as_key():
    path = undecodable("/photos")
    assert key_of(path) == "file:///photos/caf%E9.jpg"
    assert path_of(key_of(path)) == path


@posix_only
def test_composed_and_decomposed_names_keep_their_own_keys():
    composed = "/photos/" + unicodedata.normalize("NFC", "é.jpg")
    decomposed = "/photos/" + unicodedata.normalize("NFD", "é.jpg")
    assert key_of(composed) == composed
    assert key_of(decomposed) == decomposed
    assert key_of(composed) != key_of(decomposed)


@pytest.mark.parametrize(
    ("path", "key", "uri"),
    [
        (r"C:\Users\Anna\a b.jpg", "C:/Users/Anna/a b.jpg", "file:///C:/Users/Anna/a%20b.jpg"),
        (r"d:\ä.png", "d:/ä.png", "file:///d:/%C3%A4.png"),
        (r"\\nas\photos\x.jpg", "//nas/photos/x.jpg", "file://nas/photos/x.jpg"),
    ],
)
def test_windows_drives_and_shares_have_keys_and_uris(path, key, uri):
    assert key_of(PureWindowsPath(path)) == key
    assert uri_of(PureWindowsPath(path)) == uri == PureWindowsPath(path).as_uri()
    assert path_of(uri, windows=True) == path


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///C|/x.jpg", "C:\\x.jpg"),
        ("file://localhost/C:/x.jpg", "C:\\x.jpg"),
        ("file:////nas/photos/x.jpg", "\\\\nas\\photos\\x.jpg"),
    ],
)
def test_windows_uris_of_other_writers_are_understood(uri, path):
    assert path_of(uri, windows=True) == path


def test_posix_uris_of_other_writers_are_understood():
    assert path_of("file://localhost/a.jpg", windows=False) == "/a.jpg"
    assert path_of("FILE:/a.jpg", windows=False) == "/a.jpg"
    assert path_of("file:///t.csv#row-3", windows=False) == "/t.csv"


@pytest.mark.parametrize(
    "uri", ["http://x/a.jpg", "/a.jpg", "file:a.jpg", "file://", "file:///a%00b", "file://nas/a"]
)
def test_what_names_no_file_here_is_refused(uri):
    with pytest.raises(ValueError, match=r"URI|no file|another computer"):
        path_of(uri, windows=False)


def test_a_stamp_differs_when_size_or_time_differs(tmp_path):
    file = tmp_path / "a"
    stamps = set()
    for text, time in [("x", 1), ("xx", 1), ("x", 2)]:
        file.write_text(text)
        os.utime(file, ns=(time, time))
        stamps.add(stamp_of(file.stat()))
    assert len(stamps) == 3


def test_a_content_hash_is_blake2b_128_of_all_bytes(tmp_path):
    raw = bytes(range(256)) * 5000  # more than one block
    (tmp_path / "a").write_bytes(raw)
    assert content_hash(tmp_path / "a") == hashlib.blake2b(raw, digest_size=16).hexdigest()
    (tmp_path / "b").write_bytes(raw[:-1] + b"x")
    assert content_hash(tmp_path / "a") != content_hash(str(tmp_path / "b"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 日本 🦊.jpg", "plain ä 日本 🦊.jpg"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines\t\r", "two\\x0alines\\x09\\x0d"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("exe.\u202egpj", "exe.\\u202egpj"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("a\u200bb\ufeff\u2028", "a\\u200bb\\ufeff\\u2028"),
        ("👨‍👩‍👧 می‌خواهم", "👨‍👩‍👧 می‌خواهم"),
        ("caf\udce9.jpg", "caf\\xe9.jpg"),
        ("\ud83d", "\\ud83d"),
        ("C:\\a", "C:\\a"),
    ],
)
def test_printable_escapes_what_could_steer_a_terminal_and_keeps_the_rest(text, shown):
    assert printable(text) == shown


def test_nothing_printable_returns_is_a_control_character_or_unwritable():
    shown = printable("".join(map(chr, range(sys.maxunicode + 1))))
    shown.encode()
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    overrides = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not [c for c in shown if unicodedata.bidirectional(c) in overrides]


def test_clean_text_can_be_stored():
    assert clean(" a\udce9 \n") == "a\ufffd"
    assert is_text("ä")
    assert not is_text("a\udce9")
