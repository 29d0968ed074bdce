"""Names on Windows and macOS, as far as another system can try them."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmsearch import Sample, read
from mmsearch.readers import samples
from mmsearch.uris import as_on_disk, file_name, key_of, path_of, uri_of
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint

posix_only = pytest.mark.skipif(os.name == "nt", reason="its file system has other names")


@pytest.mark.parametrize(
    ("long", "short"),
    [
        (r"\\?\C:\photos\a.jpg", r"C:\photos\a.jpg"),
        (r"\\?\UNC\nas\photos\a.jpg", r"\\nas\photos\a.jpg"),
        (r"\\?\unc\nas\photos\a.jpg", r"\\nas\photos\a.jpg"),
        ("C:\\" + "x" * 200 + "\\" + "y" * 200 + ".jpg", None),
    ],
)
def test_a_long_path_of_windows_is_the_same_file_as_its_short_form(long, short) -> None:
    assert key_of(PureWindowsPath(long)) == key_of(PureWindowsPath(short or long))
    assert path_of(uri_of(PureWindowsPath(long)), windows=True) == (short or long)


# No reserved characters; the last character no space or dot.
_NAMES = st.text(st.characters(exclude_characters='<>:"/\\|?*', exclude_categories=["Cs", "Cc"]),
                 min_size=1, max_size=20).map(lambda n: n.rstrip(". ") or "x")  # fmt: skip


@given(
    st.sampled_from(["C:\\", "z:\\", "\\\\nas\\share\\"]), st.lists(_NAMES, min_size=1, max_size=4)
)
def test_any_path_of_windows_comes_back_from_its_uri(root: str, names: list[str]) -> None:
    path = root + "\\".join(names)
    assert path_of(uri_of(PureWindowsPath(path)), windows=True) == path
    assert key_of(PureWindowsPath(path)) == path.replace("\\", "/")


@pytest.mark.parametrize(
    ("name", "windows", "made"),
    [
        ("a b'c.jpg", True, "a b'c.jpg"),
        ("a:b.png", True, "a_b.png"),  # else a hidden stream of the file "a"
        ("a/b\\c?.png", True, "a_b_c_.png"),
        ("CON.jpg", True, "_CON.jpg"),
        ("lpt1", True, "_lpt1"),
        ("COM¹.png", True, "_COM¹.png"),
        ("contact.jpg", True, "contact.jpg"),
        ("end. . ", True, "end"),
        ("...", True, "_"),
        ("CON.jpg", False, "CON.jpg"),
        ("a:b?.png", False, "a:b?.png"),
        ("a/b\0.png", False, "a_b_.png"),
        ("..", False, "_"),
        ("x" * 300 + ".jpg", False, "x" * 251 + ".jpg"),
        ("é" * 200 + ".jpg", True, "é" * 125 + ".jpg"),
    ],
)
def test_a_new_file_gets_a_name_that_its_system_can_have(name, windows, made) -> None:
    assert file_name(name, windows=windows) == made


def test_one_file_has_one_key_where_case_and_accents_are_folded(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é.JPG")
    disk = {"/": ["Users"], "/Users": ["Anna"], "/Users/Anna": ["Photos", "photos2"],
            "/Users/Anna/Photos": [decomposed, "STRASSE.jpg"]}  # fmt: skip

    def listed(folder: str) -> list[str]:
        if folder not in disk:
            raise FileNotFoundError(folder)
        return disk[folder]

    for asked, found in (
        ("/users/ANNA/photos", "/Users/Anna/Photos"),
        ("/Users/Anna/photos2", "/Users/Anna/photos2"),
        ("/users/anna/photos/é.jpg", f"/Users/Anna/Photos/{decomposed}"),
        ("/users/anna/photos/straße.jpg", "/Users/Anna/Photos/STRASSE.jpg"),
        ("/users/anna/gone/A.jpg", "/Users/Anna/gone/A.jpg"),
        ("/", "/"),
    ):
        assert as_on_disk(asked, listed) == found


@posix_only
def test_where_case_counts_two_names_stay_two_files(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", "red")
    paint(tmp_path / "A.png", "blue")
    assert as_on_disk(str(tmp_path / "A.png")) == str(tmp_path / "A.png")
    assert len([s for s in read(str(tmp_path)) if isinstance(s, Sample)]) == 2


@posix_only
def test_a_folder_named_in_another_case_has_its_own_keys_where_names_are_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: the link stands for what its file system does by itself."""
    paint(tmp_path / "Photos" / "a.png", "red")
    monkeypatch.setattr(samples, "FOLDS_NAMES", True)
    samples.names_in.cache_clear()
    (one,) = read(str(tmp_path / "Photos"))
    assert isinstance(one, Sample)
    assert samples.real_folder(str(tmp_path / "PHOTOS")) == str(tmp_path / "Photos")
    assert samples.real_path(str(tmp_path / "Photos" / "A.PNG")) == one.path


@posix_only
def test_a_table_written_on_another_system_finds_its_pictures(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    paint(tmp_path / "sub" / unicodedata.normalize("NFD", "é.png"), "red")
    paint(tmp_path / "sub" / "b.png", "blue")
    table = (
        "image,caption\r\nsub\\" + unicodedata.normalize("NFC", "é.png") + ",a\r\nsub\\b.png,b\r\n"
    )
    (tmp_path / "pairs.csv").write_bytes(table.encode())
    assert "2 added" in mmsearch("index", tmp_path / "pairs.csv", "--model", "color").err


def test_copied_pictures_get_names_that_windows_can_have(
    mmsearch: Mmsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "red.png", "red")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(tmp_path / "red.png", "p/aux.png")
        file.write(tmp_path / "red.png", "p/a?b.png")
    mmsearch("index", tmp_path / "a.zip", "--model", "color")
    windows = lambda name: file_name(name, windows=True)  # noqa: E731
    monkeypatch.setattr("mmsearch.uris.file_name", windows)
    assert mmsearch("search", "red", "--copy-to", tmp_path / "out").code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["_aux.png", "a_b.png"]


def test_a_copied_page_is_a_picture(mmsearch: Mmsearch, tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    Image.new("RGB", (80, 60), "red").save(tmp_path / "a.pdf")
    mmsearch("index", tmp_path / "a.pdf", "--model", "color")
    assert mmsearch("search", "red", "--copy-to", tmp_path / "out").code == 0
    with Image.open(tmp_path / "out" / "a.pdf page=1.png") as page:
        assert page.format == "PNG"
