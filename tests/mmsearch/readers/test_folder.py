import os
import socket
import unicodedata
from pathlib import Path

import pytest

from mmsearch.readers.folder import read_folder
from mmsearch.types import Sample, Skipped


def touch(root: Path, *names: str) -> Path:
    """Make files that hold their own name: no reader may notice that they are no pictures."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(root: Path, **options: bool) -> list[str]:
    """Return the paths of the samples below the root, in the reader's order."""
    found = read_folder(str(root), **options)
    return [Path(s.path).relative_to(root.resolve()).as_posix() for s in found if type(s) is Sample]


def one(root: Path) -> Sample:
    (sample,) = read_folder(str(root))
    assert isinstance(sample, Sample)
    return sample


def link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no right to make symbolic links here")


def test_a_folder_lists_its_pictures_sorted_then_those_of_its_folders(tmp_path):
    touch(tmp_path, "b.jpg", "a.PNG", "sub/c.webp", "sub/deep/d.jpg", "alb/e.jpg", ".hidden.jpg")
    assert names(tmp_path) == [
        ".hidden.jpg", "a.PNG", "b.jpg", "alb/e.jpg", "sub/c.webp", "sub/deep/d.jpg",
    ]  # fmt: skip


def test_files_that_are_no_pictures_are_passed_over(tmp_path):
    touch(tmp_path, "notes.txt", "Thumbs.db", ".DS_Store", "clip.mp4", "a.xmp", "README", "x.json")
    assert list(read_folder(str(tmp_path))) == []


def test_hidden_and_junk_folders_are_passed_over_unless_they_are_the_root(tmp_path):
    junk = [".git", "@eaDir", "__MACOSX", "$Recycle.Bin", "System Volume Information"]
    touch(tmp_path, *(f"{j}/a.jpg" for j in junk), "ok/a.jpg")
    assert names(tmp_path) == ["ok/a.jpg"]
    assert names(tmp_path / ".git") == ["a.jpg"]


def test_an_item_says_where_and_what_the_file_is(tmp_path):
    touch(tmp_path, "sub/ä.jpg")
    file = tmp_path.resolve() / "sub" / "ä.jpg"
    os.utime(file, ns=(10**18, 10**18 + 5))
    sample = one(tmp_path)
    assert sample.path == str(file)
    assert sample.captions == ()
    item = sample.item
    assert (item.key, item.uri, item.kind) == (file.as_posix(), file.as_uri(), "image")
    assert item.stamp == "10-1000000000000000005"
    assert item.content == item.text == ""
    assert item.meta == {
        "name": "ä.jpg", "folder": file.parent.as_posix(), "bytes": 10,
        "mtime": "2001-09-09T01:46:40Z",
    }  # fmt: skip


def test_a_refused_format_is_reported_with_what_to_do(tmp_path):
    touch(tmp_path, "logo.SVG", "m31.fits", "scan.pdf")
    found = list(read_folder(str(tmp_path)))
    assert all(isinstance(s, Skipped) and s.stamp for s in found)
    assert [(Path(s.key).name, s.reason) for s in found if isinstance(s, Skipped)] == [
        ("logo.SVG", "SVG is a drawing, not pixels; export it as PNG"),
        ("m31.fits", "FITS holds measurements, not a picture; export a rendering as PNG"),
        ("scan.pdf", "PDF is a document; name it, or say --inside pdf, to index its pages"),
    ]


def test_a_raw_file_is_reported_only_when_no_picture_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.readers.folder.is_installed", lambda sort: False)  # no rawpy
    touch(tmp_path, "a.jpg", "a.CR2", "b.CR2")
    skipped = [s.key for s in read_folder(str(tmp_path)) if isinstance(s, Skipped)]
    assert [Path(k).name for k in skipped] == ["b.CR2"]


def test_a_folder_that_cannot_be_read_is_reported_and_the_walk_goes_on(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # root may read everything: chmod won't do
    found = list(read_folder(str(tmp_path)))
    skipped = [s for s in found if isinstance(s, Skipped)]
    assert [Path(s.path).name for s in found if isinstance(s, Sample)] == ["1.jpg", "3.jpg"]
    assert skipped[0].key == f"{tmp_path.resolve().as_posix()}/b/"
    assert skipped[0].reason == "the folder cannot be read: Permission denied"


def test_a_file_that_vanishes_after_listing_is_ignored(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    found = read_folder(str(tmp_path))
    next(found)
    (tmp_path / "b.jpg").unlink()
    assert [Path(s.path).name for s in found if isinstance(s, Sample)] == ["c.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_sockets_named_like_pictures_do_not_hang_the_walk(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "x.jpg")
    os.mkfifo(tmp_path / "a.txt")
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("y.jpg")
        assert names(tmp_path) == ["a.jpg"]


def test_links_are_passed_over_by_default_and_followed_on_request(tmp_path):
    touch(tmp_path, "photos/a.jpg", "elsewhere/b.jpg")
    link(tmp_path / "photos" / "other", tmp_path / "elsewhere")
    link(tmp_path / "photos" / "c.jpg", tmp_path / "elsewhere" / "b.jpg")
    link(tmp_path / "photos" / "dead.jpg", tmp_path / "nowhere")
    photos = tmp_path / "photos"
    assert names(photos) == ["a.jpg"]
    assert names(photos, follow_links=True) == ["a.jpg", "c.jpg", "other/b.jpg"]


def test_a_loop_of_links_ends_and_each_folder_is_read_once_by_its_real_path(tmp_path):
    touch(tmp_path, "z/a.jpg")
    link(tmp_path / "z" / "up", tmp_path)
    link(tmp_path / "alias", tmp_path / "z")
    assert names(tmp_path, follow_links=True) == ["z/a.jpg"]


def test_a_linked_root_is_read_under_its_real_path(tmp_path):
    touch(tmp_path, "real/a.jpg")
    link(tmp_path / "alias", tmp_path / "real")
    assert one(tmp_path / "alias").path == str((tmp_path / "real" / "a.jpg").resolve())


def test_a_name_that_is_no_utf8_is_listed_with_a_key_that_can_be_stored(tmp_path):
    path = os.fsencode(tmp_path.resolve()) + b"/caf\xe9.jpg"
    try:
        Path(os.fsdecode(path)).write_bytes(b"x")
    except (OSError, UnicodeError):
        pytest.skip("this file system refuses such names")
    sample = one(tmp_path)
    assert os.fsencode(sample.path) == path
    assert sample.item.key == sample.item.uri == f"{tmp_path.resolve().as_uri()}/caf%E9.jpg"
    assert sample.item.meta["name"] == "caf\\xe9.jpg"
    repr(sample.item).encode()


def test_captions_beside_the_picture_go_with_it(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "a.txt").write_text("a red dog\n\n  two dogs  \n", encoding="utf-8-sig")
    (tmp_path / "b.jpg.TXT").write_text("by full name")
    (tmp_path / "b.txt").write_text("by stem")
    found = [s.captions for s in read_folder(str(tmp_path)) if isinstance(s, Sample)]
    assert found == [("a red dog", "two dogs"), ("by full name",), ()]


def test_a_changed_caption_changes_the_stamp_though_the_picture_is_the_same(tmp_path):
    touch(tmp_path, "a.jpg")
    stamps = [one(tmp_path).item.stamp]
    for text in ("a dog", "a cat"):  # of equal length, perhaps within one tick of the clock
        (tmp_path / "a.txt").write_text(text)
        stamps.append(one(tmp_path).item.stamp)
    assert len(set(stamps)) == 3
    assert len({s.partition("+")[0] for s in stamps}) == 1
    os.utime(tmp_path / "a.txt", ns=(1, 1))
    assert one(tmp_path).item.stamp == stamps[-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", "file_name,caption,mood\nsub/a.jpg,a dog,calm\nsub/a.jpg,a pet,\n"),
        ("metadata.tsv", "file_name\ttext\tmood\n./sub/a.jpg\ta dog\tcalm\nsub\\a.jpg\ta pet\t\n"),
        (
            "metadata.jsonl",
            '{"file_name": "sub/a.jpg", "text": ["a dog", "a pet"], "mood": "calm"}',
        ),
    ],
)
def test_a_table_in_the_root_gives_captions_by_relative_name(tmp_path, name, text):
    touch(tmp_path, "a.jpg", "sub/a.jpg")
    (tmp_path / name).write_text(text)
    plain, told = read_folder(str(tmp_path))
    assert isinstance(plain, Sample)
    assert isinstance(told, Sample)
    assert plain.captions == ()
    assert told.captions == ("a dog", "a pet")
    assert told.item.meta["mood"] == "calm"
    assert told.item.meta["name"] == "a.jpg"


def test_a_composed_name_in_the_table_finds_the_decomposed_one_on_disk(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFD", "é.jpg"))
    row = unicodedata.normalize("NFC", "é.jpg,coffee")
    (tmp_path / "captions.csv").write_text(f"file_name,caption\n{row}\n", encoding="utf-8")
    assert one(tmp_path).captions == ("coffee",)


def test_a_caption_table_without_pictures_is_reported_but_foreign_metadata_is_not(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "metadata.csv").write_text("station,rain\n1,2\n")
    assert names(tmp_path) == ["a.jpg"]
    assert len(list(read_folder(str(tmp_path)))) == 1
    (tmp_path / "metadata.jsonl").write_text("oops\n")
    assert len(list(read_folder(str(tmp_path)))) == 2
    (tmp_path / "captions.csv").write_text("station,rain\n1,2\n")
    trouble, sample = read_folder(str(tmp_path))
    assert isinstance(trouble, Skipped)
    assert trouble.reason.startswith("captions: ")
    assert isinstance(sample, Sample)


def test_a_large_folder_is_listed_without_holding_its_items(tmp_path):
    touch(tmp_path, *(f"{i:02}/{j:02}.jpg" for i in range(20) for j in range(20)))
    assert sum(1 for _ in read_folder(str(tmp_path))) == 400
    first = next(read_folder(str(tmp_path)))  # lazy: the first comes before all are listed
    assert isinstance(first, Sample)
    assert first.item.key.endswith("/00/00.jpg")


def test_a_root_that_vanishes_meanwhile_is_reported_so_that_nothing_counts_as_deleted(tmp_path):
    touch(tmp_path, "drive/a.jpg", "drive/b.jpg", "drive/sub/c.jpg")
    found = read_folder(str(tmp_path / "drive"))
    next(found)
    (tmp_path / "drive").rename(tmp_path / "unplugged")
    (skipped,) = found
    assert isinstance(skipped, Skipped)
    assert skipped.key == f"{tmp_path.resolve().as_posix()}/drive/"
