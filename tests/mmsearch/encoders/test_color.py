from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders import load_encoder
from mmsearch.encoders.color import COLORS
from mmsearch.types import Encoder

half = 0.5**0.5


@pytest.fixture
def color() -> Encoder:
    return load_encoder("color")


def encode(color: Encoder, *colors: str) -> np.ndarray:
    pictures = [Image.new("RGB", (5, 3), c) for c in colors]
    return color.encode_images(np.stack([color.prepare(p) for p in pictures]))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("red", (1, 0, 0, 0)),
        ("a BLUE sky", (0, 0, 1, 0)),
        ("yellow", (half, half, 0, 0)),
        ("red and green", (half, half, 0, 0)),
        ("red, red and green", (2 / 5**0.5, 1 / 5**0.5, 0, 0)),
        ("black", (0, 0, 0, 1)),
        ("black or red", (half, 0, 0, half)),
        ("white", (3**-0.5, 3**-0.5, 3**-0.5, 0)),
        ("no colour at all", (0.5, 0.5, 0.5, 0.5)),
        ("", (0.5, 0.5, 0.5, 0.5)),
        ("redder", (0.5, 0.5, 0.5, 0.5)),
    ],
)
def test_a_text_is_the_sum_of_the_colours_it_names(color, text, row):
    np.testing.assert_allclose(color.encode_texts([text])[0], row, atol=1e-6)


def test_a_picture_is_its_mean_colour(color):
    picture = Image.new("RGB", (2, 1), "red")
    picture.putpixel((1, 0), (0, 0, 255))
    prepared = color.prepare(picture)
    np.testing.assert_allclose(prepared, (0.5, 0, 0.5))
    # (0.5, 0, 0.5, dark 0.5), made unit
    row = color.encode_images(prepared[None])[0]
    np.testing.assert_allclose(row, np.array([1, 0, 1, 1]) / 3**0.5, atol=1e-6)


@pytest.mark.parametrize("name", ["red", "lime", "blue", "yellow", "black", "white", "orange"])
def test_a_picture_of_one_colour_is_nearest_to_that_colours_name(color, name):
    words = [w for w in COLORS if w not in ("gray", "grey")]
    scores = encode(color, name)[0] @ color.encode_texts(words).T
    assert words[int(scores.argmax())] == {"lime": "green"}.get(name, name)


def test_black_is_a_direction_of_its_own(color):
    np.testing.assert_allclose(encode(color, "black", "white")[0], (0, 0, 0, 1))


def test_rows_are_float32_of_unit_length_and_no_input_gives_no_rows(color):
    rows = color.encode_texts([*COLORS, "nothing"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert color.encode_texts([]).shape == (0, 4)
    assert color.encode_images(np.empty((0, 3), np.float32)).shape == (0, 4)


def test_it_can_be_pickled_and_used_by_many_threads(color):
    again = pickle.loads(pickle.dumps(color))
    assert again.space == color.space
    texts = [[w, "red"] for w in COLORS] * 20
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(again.encode_texts, texts))
    for pair, row in zip(texts, rows, strict=True):
        np.testing.assert_array_equal(row, color.encode_texts(pair))


def test_it_is_an_encoder(color):
    assert isinstance(color, Encoder)
