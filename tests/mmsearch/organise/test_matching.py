"""Pixels compared: copies of a real picture are alike, other pictures are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PIL import Image, ImageEnhance, ImageOps

from mmsearch.organise.matching import likeness, thumbnail
from tests.conftest import shared_data

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda i: i,
    "half": lambda i: i.resize((i.width // 2, i.height // 2)),
    "grey": lambda i: i.convert("L"),
    "mirror": ImageOps.mirror,
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.3),
    "crop": lambda i: i.crop((5, 10, round(0.85 * i.width), round(0.9 * i.height))),
    "mirrored crop": lambda i: ImageOps.mirror(i.crop((0, 0, round(0.85 * i.width), i.height))),
}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    paths = sorted((shared_data("flickr8k") / "test").iterdir())[:8]
    return [Image.open(path).convert("RGB") for path in paths]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_alike(photos: list[Image.Image], change: str) -> None:
    for photo in photos:
        a, b = thumbnail(photo), thumbnail(CHANGES[change](photo))
        assert likeness(a, b) > 0.75
        assert likeness(b, a) > 0.75


def test_other_pictures_are_not(photos: list[Image.Image]) -> None:
    looks = [thumbnail(photo) for photo in photos]
    for n, look in enumerate(looks):
        assert max(likeness(look, other) for other in looks[:n] + looks[n + 1 :]) < 0.7


def test_a_crop_is_not_looked_for_where_that_is_said(photos: list[Image.Image]) -> None:
    a, b = thumbnail(photos[0]), thumbnail(CHANGES["crop"](photos[0]))
    assert likeness(a, b, crops=False) < likeness(a, b)


def test_plain_pictures_are_alike_if_equally_bright() -> None:
    red, same, dark = (thumbnail(Image.new("RGB", (30, 20), c)) for c in ("red", "red", "black"))
    assert likeness(red, same) == 1.0
    assert likeness(red, dark) == 0.0
