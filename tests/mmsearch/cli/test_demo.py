"""The demo answers its own questions rightly, with the model that ships."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from mmsearch.cli import demo
from tests.mmsearch.cli.conftest import Mmsearch

RIGHT = ("coffee.png", "camera.png", "motorcycle_left.png", "chelsea.png", "astronaut.png")


def test_the_first_hit_of_each_question_is_the_right_picture(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    if find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed")
    for _ in range(2):  # the second time over the index of the first
        done = mmsearch("demo", "--store", tmp_path / "demo")
        assert done.code == 0
        first = [line.split()[2] for line in done.out.splitlines() if line.startswith("  1  ")]
        assert first == [*RIGHT, demo.PICTURE]
    found = mmsearch("search", "a motorcycle", "--store", tmp_path / "demo", "--format", "paths")
    assert found.out.splitlines()[0].endswith("motorcycle_left.png")


def test_a_folder_that_is_no_demo_is_left_alone(
    mmsearch: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    if find_spec("skimage") is None:
        pytest.skip("scikit-image is not installed")
    mmsearch("index", photos, "--model", "color")
    done = mmsearch("demo", "--store", tmp_path / "store")
    assert done.code == 3
    assert "exists already" in done.err
    assert "pictures    3" in mmsearch("status").out


def test_without_the_pictures_it_says_what_to_install(
    mmsearch: Mmsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.photos.find_spec", lambda _: None)
    done = mmsearch("demo")
    assert (done.code, "pip install 'mmsearch[demo]'" in done.err) == (4, True)
