"""rclip's end-to-end scenarios, each with the same or a better outcome; docs/rclip.md lists them.

Real photographs (scikit-image's) and the model that ships.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.photos import photos_folder
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.readers.dng import dng

Found = Callable[..., list[str]]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A cat, a cup, a motorcycle and a rocket, at 320 pixels, in folders."""
    pytest.importorskip("skimage")
    folder = tmp_path / "album"
    places = {"chelsea": "cats/chelsea.jpg", "coffee": "coffee.jpg",
              "motorcycle_left": "a/b/c/bike.jpg", "astronaut": "woman.jpg"}  # fmt: skip
    for name, place in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        photo(name).save(folder / place, quality=90)
    return folder


def photo(name: str) -> Image.Image:
    with Image.open(photos_folder() / f"{name}.png") as image:
        small = image.convert("RGB")
    small.thumbnail((320, 320))
    return small


@pytest.fixture
def found(mmsearch: Mmsearch, album: Path) -> Found:
    """Index the album as it is now, then search it; return the paths below it, best first."""

    def search(query: str | Path, *options: str) -> list[str]:
        indexed = mmsearch("index", album, "--model", "starter")
        assert indexed.code in (0, 5), indexed.err
        done = mmsearch("search", query, "--format", "paths", *options)
        assert done.code == 0, done.err
        return [Path(line).relative_to(album).as_posix() for line in done.out.splitlines()]

    return search


def test_search(found: Found) -> None:
    assert found("a cat")[0] == "cats/chelsea.jpg"
    assert found("a cup of coffee")[0] == "coffee.jpg"


def test_search_format(mmsearch: Mmsearch, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("pillow_heif").register_heif_opener()
    forms = {
        "bmp": "BMP", "gif": "GIF", "jp2": "JPEG2000", "png": "PNG", "pnm": "PPM", "ppm": "PPM",
        "pgm": "PPM", "pbm": "PPM", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP", "avif": "AVIF",
        "JPG": "JPEG", "jpeg": "JPEG", "heic": "HEIF",
    }  # fmt: skip
    modes = {"pgm": "L", "pbm": "1"}
    (tmp_path / "cats").mkdir()
    for suffix, form in forms.items():
        image = photo("chelsea").convert(modes.get(suffix, "RGB"))
        image.save(tmp_path / "cats" / f"cat.{suffix}", form)
    assert "15 added" in mmsearch("index", tmp_path / "cats", "--model", "starter").err
    hits = json.loads(mmsearch("search", "a cat", "-n", "15", "--format", "json").out)["hits"]
    assert {h["meta"]["name"] for h in hits} == {f"cat.{suffix}" for suffix in forms}
    # The lossless ones, in colour, are the same picture: the same score.
    same = {h["score"] for h in hits if h["meta"]["format"] in {"PNG", "BMP", "TIFF"}}
    assert len(same) == 1


def test_search_animated_gif(found: Found, album: Path) -> None:
    frames = [photo("coffee"), photo("chelsea")]
    frames[0].save(album / "moving.gif", save_all=True, append_images=frames[1:], duration=300)
    assert set(found("a cup of coffee")[:2]) == {"coffee.jpg", "moving.gif"}


def test_repeated_searches_should_be_the_same(found: Found) -> None:
    assert found("a motorcycle") == found("a motorcycle") == found("a motorcycle")


def test_search_by_image(found: Found, album: Path) -> None:
    assert found(album / "cats" / "chelsea.jpg")[0] == "cats/chelsea.jpg"
    photo("chelsea").crop((40, 20, 260, 200)).save(album.parent / "part.png")
    assert found(album.parent / "part.png")[0] == "cats/chelsea.jpg"


def test_search_by_not_an_image_is_refused(found: Found, mmsearch: Mmsearch, album: Path) -> None:
    found("a cat")
    (album / "not-an-image.txt").write_text("not an image")
    done = mmsearch("search", album / "not-an-image.txt")
    assert (done.code, "cannot search by" in done.err) == (2, True)


def test_search_by_non_existing_file_says_so(found: Found, mmsearch: Mmsearch, album: Path) -> None:
    found("a cat")
    assert "there is no file" in mmsearch("search", "./non-existing-file.jpg").err


def test_search_empty_dir(mmsearch: Mmsearch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = mmsearch("index", tmp_path / "empty", "--model", "starter")
    assert (done.code, "nothing to index" in done.err) == (0, True)
    assert (mmsearch("search", "a cat").code, mmsearch("search", "a cat").out) == (1, "")


def test_search_dir_with_multiple_and_deeply_nested_directories(found: Found) -> None:
    assert found("a motorcycle")[0] == "a/b/c/bike.jpg"
    assert sorted(found("a motorcycle", "--path", "cats/*")) == ["cats/chelsea.jpg"]


def test_handles_addition_renaming_and_deletion_of_images(
    found: Found, mmsearch: Mmsearch, album: Path
) -> None:
    assert found("a cat")[0] == "cats/chelsea.jpg"
    shutil.copy(album / "cats" / "chelsea.jpg", album / "cats" / "copy.jpg")
    assert set(found("a cat")[:2]) == {"cats/chelsea.jpg", "cats/copy.jpg"}
    (album / "cats" / "copy.jpg").rename(album / "moved.jpg")
    assert "1 reused" in mmsearch("index", album).err
    assert set(found("a cat")[:2]) == {"cats/chelsea.jpg", "moved.jpg"}
    (album / "moved.jpg").unlink()
    assert len(found("a cat")) == 4


def test_unicode_and_odd_filepaths(mmsearch: Mmsearch, album: Path) -> None:
    names = ["鳥鳥.jpg", "ä b'c\".jpg", "-n.jpg", "[x]*.jpg", "a\nb.jpg", "%41.jpg", "a#b?.jpg"]
    for name in names:
        shutil.copy(album / "cats" / "chelsea.jpg", album / name)
    assert mmsearch("index", album, "--model", "starter").code == 0
    done = mmsearch("search", "a cat", "-n", "8", "-0")
    assert set(done.out.split("\0")) == {str(album / n) for n in [*names, "cats/chelsea.jpg"]} | {
        ""
    }


def test_broken_files_are_listed_and_the_rest_is_found(
    found: Found, mmsearch: Mmsearch, album: Path
) -> None:
    (album / "broken.jpg").write_bytes((album / "coffee.jpg").read_bytes()[:900])
    assert found("a cat")[0] == "cats/chelsea.jpg"
    assert "broken.jpg" in mmsearch("failures").out


def test_raw_images_are_read_unless_an_export_lies_beside_them(found: Found, album: Path) -> None:
    pytest.importorskip("rawpy")
    coffee = (album / "coffee.jpg").read_bytes()
    (album / "coffee.dng").write_bytes(dng(coffee))
    assert found("a cup of coffee").count("coffee.dng") == 0
    (album / "coffee.jpg").unlink()
    assert found("a cup of coffee")[0] == "coffee.dng"


def test_scores_and_paths_alone(found: Found, mmsearch: Mmsearch) -> None:
    best = found("a cat", "-n", "2")
    hits = json.loads(mmsearch("search", "a cat", "-n", "2", "--format", "json").out)["hits"]
    assert [Path(h["path"]).name for h in hits] == [Path(p).name for p in best]
    assert hits[0]["score"] > hits[1]["score"]


def test_add_and_subtract_queries(found: Found) -> None:
    both = found("a cat + a cup of coffee", "-n", "2")
    assert set(both) == {"cats/chelsea.jpg", "coffee.jpg"}
    assert found("a cat + a cup of coffee - a cat")[0] == "coffee.jpg"
    less = ("--not", "a cup of coffee", "--weight", "not=1")
    assert found("a cat + a cup of coffee", *less)[0] == "cats/chelsea.jpg"


def test_query_multipliers(found: Found, album: Path) -> None:
    cup, cat = album / "coffee.jpg", album / "cats" / "chelsea.jpg"
    assert found(f"{cup} + 3:{cat}")[0] == "cats/chelsea.jpg"
    assert found(f"3:{cup} + {cat}")[0] == "coffee.jpg"
    assert found("3:a cup of coffee + a motorcycle - 0.5:a woman")[0] == "coffee.jpg"
    assert found("a cup of coffee + 3:a motorcycle - 0.5:a woman")[0] == "a/b/c/bike.jpg"


def test_combine_text_and_image_queries_with_weights(found: Found, album: Path) -> None:
    cup = album / "coffee.jpg"
    cat = ["--image", str(album / "cats" / "chelsea.jpg")]
    assert found("a cup of coffee", *cat, "--weight", "image=3")[0] == "cats/chelsea.jpg"
    assert found("a cup of coffee", *cat, "--weight", "text=30")[0] == "coffee.jpg"
    assert found(cup, "--not", "a cup of coffee", "--weight", "not=3")[0] != "coffee.jpg"
