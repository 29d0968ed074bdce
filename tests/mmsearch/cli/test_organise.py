"""`mmsearch similar` and `dupes`, and `search --diverse`, on real pictures where they are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mmsearch import open_picture
from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch


def names(out: str) -> list[str]:
    return [Path(line).name for line in out.splitlines()]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Eight photographs, and of the first: a copy, one without loss, and one half the size."""
    folder = tmp_path / "album"
    folder.mkdir()
    for n, path in enumerate(sorted((shared_data("flickr8k") / "test").iterdir())[:8]):
        shutil.copy(path, folder / f"{n}{path.suffix}")
    first = next(folder.glob("0.*"))
    shutil.copy(first, folder / f"copy{first.suffix}")
    image = Image.open(first).convert("RGB")
    image.save(folder / "lossless.png")
    image.resize((image.width // 2, image.height // 2)).save(folder / "half.jpg", quality=60)
    return folder


@pytest.fixture
def indexed_album(mmsearch: Mmsearch, album: Path) -> Mmsearch:
    assert mmsearch("index", album, "--model", "color").code == 0
    return mmsearch


def test_copies_are_told_apart(indexed_album: Mmsearch) -> None:
    done = indexed_album("dupes", "--format", "json")
    (group,) = json.loads(done.out)["groups"]
    found = {Path(m["path"]).stem: m["relation"] for m in group}
    assert sorted(found) == ["0", "copy", "half", "lossless"]
    # The PNG has as many pixels and more bytes.
    assert found == {
        "lossless": "first", "0": "same pixels", "copy": "same pixels", "half": "near"
    }  # fmt: skip
    assert group[-1]["likeness"] > 0.9
    assert "3 of 11 pictures are copies, in 1 group" in done.err


def test_exact_copies_need_no_pixels(indexed_album: Mmsearch, album: Path) -> None:
    for path in album.iterdir():
        path.unlink()
    done = indexed_album("dupes", "--exact", "-0")
    assert (done.code, done.out.count("\0")) == (0, 1)
    assert Path(done.out.rstrip("\0")).stem == "copy"
    assert "same file" in indexed_album("dupes", "--exact").out
    done = indexed_album("dupes", "--vectors", "--alike", "0.999", "--format", "jsonl")
    assert {Path(m["path"]).stem for m in json.loads(done.out)} >= {"0", "copy", "lossless"}
    assert "pictures could not be opened" in indexed_album("dupes").err


def test_no_copies_is_exit_code_1(indexed: Mmsearch) -> None:
    done = indexed("dupes", "--path", "*.png")
    assert (done.code, done.out) == (1, "")
    assert indexed("dupes", "--exact", "--vectors").code == 2


def test_the_table_and_the_paths_of_copies(indexed_album: Mmsearch) -> None:
    assert "same" in indexed_album("dupes", "--alike", "0.8", "--threads", "1").out
    assert len(names(indexed_album("dupes", "--format", "paths").out)) == 3


def test_what_is_like_a_stored_picture_needs_no_model(indexed_album: Mmsearch, album: Path) -> None:
    first = next(album.glob("0.*"))
    found = names(indexed_album("similar", first, "-n", "3", "--format", "paths").out)
    assert {Path(f).stem for f in found} >= {"copy", "lossless"}
    key = json.loads(indexed_album("search", first, "--format", "json").out)["hits"][0]["key"]
    first.unlink()
    done = indexed_album("similar", key, "-n", "2", "-0")
    assert (done.code, done.out.count("\0")) == (0, 2)


def test_what_is_like_another_file_is_found_by_its_content_or_a_model(
    indexed_album: Mmsearch, album: Path, tmp_path: Path
) -> None:
    moved = tmp_path / f"elsewhere{next(album.glob('0.*')).suffix}"
    shutil.copy(next(album.glob("0.*")), moved)
    assert len(names(indexed_album("similar", moved, "--format", "paths").out)) == 10
    other = tmp_path / "other.png"
    Image.open(next(album.glob("3.*"))).rotate(1).save(other)
    done = indexed_album("similar", other, "-n", "1", "--format", "paths", "--threads", "1")
    assert Path(done.out.strip()).stem == "3"


def test_captions_that_fit_a_stored_picture(indexed: Mmsearch, photos: Path) -> None:
    done = indexed("similar", photos / "red.png", "--kind", "text")
    assert "something red" in done.out
    done = indexed("similar", photos / "red.png", "--where", "width > 1000")
    assert done.code == 1


def test_an_unknown_key_is_one_clear_line(indexed: Mmsearch) -> None:
    done = indexed("similar", "nothing.png")
    assert (done.code, done.out) == (2, "")
    assert "neither a key of the collection nor a file: nothing.png" in done.err


def test_diverse_hits_leave_copies_for_later(indexed_album: Mmsearch, album: Path) -> None:
    first = next(album.glob("0.*"))
    plain = names(indexed_album("search", first, "-n", "4", "--format", "paths").out)
    assert {Path(p).stem for p in plain} == {"0", "copy", "lossless", "half"}
    spread = names(
        indexed_album("search", first, "-n", "4", "--diverse", "0.7", "--format", "paths").out
    )
    assert len({Path(p).stem for p in spread} & {"0", "copy", "lossless", "half"}) == 1


def test_drawings_that_are_much_alike_are_no_copies(mmsearch: Mmsearch, tmp_path: Path) -> None:
    """Drawings of one outline. Photographs' limit would put most of them together."""
    data = json.loads((shared_data("openmoji") / "dataset.json").read_text())["images"]
    drawings = [i["filename"] for i in data if i["split"] == "test"][:240]
    folder = tmp_path / "drawings"
    folder.mkdir()
    for n, name in enumerate(drawings):
        shutil.copy(shared_data("openmoji") / name, folder / f"{n:03}.png")
        if n % 24 == 0:
            copy = open_picture(folder / f"{n:03}.png").image
            copy.save(folder / f"{n:03}-copy.jpg", quality=60)
    assert mmsearch("index", folder, "--model", "starter").code == 0
    groups = json.loads(mmsearch("dupes", "--format", "json").out)["groups"]
    together = [{Path(m["path"]).stem[:3] for m in g} for g in groups]
    found = sum({f"{n:03}", f"{n:03}-copy"} <= {Path(m["path"]).stem for m in g}
                for n in range(0, 240, 24) for g in groups)  # fmt: skip
    wrong = sum(len(t) - 1 for t in together)
    many = json.loads(mmsearch("dupes", "--alike", "0.75", "--format", "json").out)["groups"]
    before = sum(len({Path(m["path"]).stem[:3] for m in g}) - 1 for g in many)
    assert found >= 7, (found, wrong, before)
    assert wrong < before / 3, (found, wrong, before)
