import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers import read, roots
from mmsearch.types import Sample, Skipped

CSV = "image,caption,split\nphotos/a.jpg,a dog,train\nphotos/b.jpg,a cat,test\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return the working directory, with one source of each sort in it."""
    for name in ("photos/a.jpg", "photos/b.jpg", "photos/sub/c.png", "photos/n.md", "photos/x.svg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "t.csv").write_text(CSV)
    (tmp_path / "t.jsonl").write_text('{"image": "photos/a.jpg"}\n')
    (tmp_path / "k.json").write_text('{"images": [{"filename": "photos/a.jpg"}]}')
    (tmp_path / "list.txt").write_text("photos/b.jpg\n")
    (tmp_path / "no_suffix").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def names(source: str, **options: object) -> list[str]:
    found = read(source, **options)  # type: ignore[arg-type]
    return [Path(s.path).name for s in found if isinstance(s, Sample)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("photos", ["a.jpg", "b.jpg", "c.png"]),
        ("photos/a.jpg", ["a.jpg"]),
        ("no_suffix", ["no_suffix"]),
        ("photos/n.md", ["n.md"]),
        ("t.csv", ["a.jpg", "b.jpg"]),
        ("t.jsonl", ["a.jpg"]),
        ("k.json", ["a.jpg"]),
        ("list.txt", ["b.jpg"]),
        ("photos/*.jpg", ["a.jpg", "b.jpg"]),
        ("phot*", ["a.jpg", "b.jpg", "c.png"]),
        ("**/*", ["a.jpg", "b.jpg", "c.png"]),
        ("photos/**/[bc].*", ["b.jpg", "c.png"]),
        ("t.j*l", []),
        ("?.csv", ["a.jpg", "b.jpg"]),
    ],
)
def test_what_a_source_is_decides_how_it_is_read(here, source, found):
    assert names(source) == found


def test_standard_input_lists_paths(here):
    assert names("-", stdin=io.BytesIO(b"photos/b.jpg\nphotos/sub\n")) == ["b.jpg", "c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(here):
    (here / "a[1].jpg").write_text("x")
    (here / "a1.jpg").write_text("x")
    assert names("a[1].jpg") == ["a[1].jpg"]


def test_a_pattern_passes_over_junk_folders_as_a_walk_does(here):
    (here / "photos" / "@eaDir").mkdir()
    (here / "photos" / "@eaDir" / "a.jpg").write_text("thumbnail")
    assert names("**/*.jpg") == ["a.jpg", "b.jpg"]
    assert names("photos/*") == ["a.jpg", "b.jpg", "c.png"]


def test_a_refused_format_named_by_the_user_says_why(here):
    (skipped,) = read("photos/x.svg")
    assert isinstance(skipped, Skipped)
    assert skipped.reason.startswith("SVG is a drawing")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no such file or folder: nowhere"),
        ("a\0b", "no such file or folder: a\\\\x00b"),
        ("nothing-*.jpg", r"nothing matches nothing-\*.jpg"),
    ],
)
def test_what_cannot_be_read_is_a_bad_source_at_once(here, source, message):
    with pytest.raises(BadSource, match=message):
        read(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_named_as_a_source_is_refused_instead_of_waited_for(here):
    os.mkfifo("pipe.jpg")
    with pytest.raises(BadSource, match="no file or folder; to read paths from a pipe use -"):
        read("pipe.jpg")
    (skipped,) = read("-", stdin=io.BytesIO(b"pipe.jpg"))
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "neither a file nor a folder"


def test_a_split_is_for_tables_and_data_sets_alone(here):
    assert names("t.csv", split="test") == ["b.jpg"]
    for source in ("photos", "photos/a.jpg", "list.txt", "-", "photos/*.jpg"):
        with pytest.raises(BadSource, match="has no splits"):
            read(source, split="test")


def test_roots_are_the_folders_that_are_listed_in_full(here):
    photos = (here / "photos").as_posix()
    assert roots("photos") == roots("./photos/") == roots("phot*") == [photos]
    for source in ("-", "t.csv", "photos/a.jpg", "**", "photos/**/*.jpg", "k.json"):
        assert roots(source) == []
    with pytest.raises(BadSource, match="no such"):
        roots("nowhere")


def test_every_sample_below_a_root_has_a_key_that_starts_with_it(here):
    try:
        (here / "alias").symlink_to("photos")
    except OSError:
        pytest.skip("no right to make symbolic links here")
    (root,) = roots("alias")
    found = [s.item.key for s in read("alias") if isinstance(s, Sample)]
    assert found
    assert all(key.startswith(f"{root}/") for key in found)


def test_a_picture_has_one_key_however_it_is_named(here):
    try:
        (here / "alias").symlink_to("photos/sub")
    except OSError:
        pytest.skip("no right to make symbolic links here")
    (here / "alias.csv").write_text("image\nalias/../a.jpg\nalias/c.png\n")
    below = {s.item.key for s in read("photos") if isinstance(s, Sample)}
    listed = io.BytesIO(b"alias/../a.jpg\nalias/c.png\n")
    sources = [read("alias/c.png"), read("al*/*"), read("alias.csv"), read("-", stdin=listed)]
    keys = [{s.item.key for s in found if isinstance(s, Sample)} for found in sources]
    assert [len(k) for k in keys] == [1, 1, 2, 2]
    assert set().union(*keys) <= below


def test_listing_a_folder_opens_no_picture(here, monkeypatch):
    opened = []
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self))
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(a))
    assert names("photos") == ["a.jpg", "b.jpg", "c.png"]
    assert opened == []


def test_importing_the_readers_brings_neither_pillow_nor_torch():
    code = "import sys, mmsearch.readers; sys.exit(bool({'PIL', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
