"""Heat-maps by the hand-checkable encoder: a picture is its mean colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmsearch import Encoder
from mmsearch.explaining.drawing import colors, overlay
from mmsearch.explaining.heatmap import Heatmap, heatmaps, windows


def spotted(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Return a blue picture with a red box."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", box)
    return image


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (240, 140, 300, 200), (120, 70, 180, 130)])
def test_the_map_is_hottest_where_the_text_fits(
    encoder: Encoder, box: tuple[int, int, int, int]
) -> None:
    (found,) = heatmaps(encoder, spotted((300, 200), box), ["red"])
    x, y = found.peak((300, 200))
    left, top, right, bottom = box
    assert left <= x <= right
    assert top <= y <= bottom
    assert found.values.shape == (32, 48)
    assert (found.values.min(), found.values.max()) == (0, 1)


def test_one_look_at_a_picture_tells_of_every_text_as_if_it_were_alone(encoder: Encoder) -> None:
    image = spotted((200, 200), (0, 0, 80, 80))
    both = heatmaps(encoder, image, ["red", "blue"])
    (alone,) = heatmaps(encoder, image, ["blue"])
    assert np.array_equal(both[1].values, alone.values)
    assert both[0].peak((200, 200)) < both[1].peak((200, 200))


def test_the_score_is_that_of_the_whole_picture_as_a_search_has_it(encoder: Encoder) -> None:
    image = spotted((100, 80), (0, 0, 50, 80))
    (found,) = heatmaps(encoder, image, ["red"])
    row = encoder.encode_images(encoder.prepare(image)[None])[0]
    assert found.score == pytest.approx(float(row @ encoder.encode_texts(["red"])[0]))


def test_a_picture_that_is_the_same_everywhere_has_an_even_map(encoder: Encoder) -> None:
    (found,) = heatmaps(encoder, Image.new("RGB", (50, 90), "red"), ["red"])
    assert not found.values.any()
    assert found.peak((50, 90)) in {(24, 44), (24, 45), (25, 44), (25, 45)}


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (301, 3), (37, 23)])
def test_pictures_of_any_shape_have_a_map(encoder: Encoder, size: tuple[int, int]) -> None:
    (found,) = heatmaps(encoder, Image.new("RGB", size, "red"), ["red"])
    x, y = found.peak(size)
    assert 0 <= x < size[0]
    assert 0 <= y < size[1]


@pytest.mark.parametrize("size", [(1, 1), (300, 200), (61, 200), (500, 10), (3000, 2)])
def test_windows_cover_the_whole_picture_and_no_more(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], bool)
    for left, top, right, bottom in windows(*size):
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert len(windows(*size)) < 150


def test_an_overlay_is_dark_where_it_is_cold_and_has_its_colour_where_it_is_hot() -> None:
    heatmap = Heatmap("x", 1.0, np.array([[0.0, 1.0]], np.float32))
    drawn = np.asarray(overlay(Image.new("RGB", (400, 100), "white"), heatmap, side=200), float)
    assert drawn.shape == (50, 200, 3)
    cold, hot = drawn[25, 2], drawn[25, -2]
    assert cold.max() < 0.4 * 255
    assert hot[0] > 250 > hot[2]  # towards yellow: red stays, blue goes


def test_the_colours_grow_lighter_with_the_heat() -> None:
    light = colors(np.linspace(0, 1, 9)) @ (0.299, 0.587, 0.114)
    assert (np.diff(light) > 0).all()
