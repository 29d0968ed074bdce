"""Pixels compared: copies of a real picture are alike, other pictures are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mmsearch.organise.comparing import compare
from mmsearch.organise.matching import (
    SCALES,
    Thumbnail,
    _detail,
    likeness,
    likenesses,
    thumbnail,
)
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
    whole = likenesses(a[None], b[None], np.array([False]), np.array([1.0]))
    assert whole[0] < likeness(a, b)


def test_a_crop_is_as_alike_as_its_best_window(photos: list[Image.Image]) -> None:
    photo = photos[0]
    cropped = photo.crop((5, 10, round(0.8 * photo.width), round(0.8 * photo.height)))
    a, b = thumbnail(photo), thumbnail(cropped)
    assert likeness(a, b) == pytest.approx(best_window(a, b), abs=1e-4)


def best_window(whole: Thumbnail, part: Thumbnail) -> float:
    """Return the best correlation of the part with a window of the whole, each looked at."""
    wide, small = (_detail(look[None].astype(np.float32))[0] for look in (whole, part))
    best = 0.0
    for scale in SCALES:
        width = round(wide.shape[1] * scale)
        height = round(width * small.shape[0] / small.shape[1])
        if not 8 <= height <= wide.shape[0]:
            continue
        template = Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)
        for y in range(wide.shape[0] - height + 1):
            for x in range(wide.shape[1] - width + 1):
                window = wide[y : y + height, x : x + width]
                alike = np.corrcoef(window.ravel(), np.asarray(template).ravel())[0, 1]
                best = max(best, float(alike))
    return best


@pytest.mark.parametrize("threads", [1, 3])
def test_many_pairs_are_as_alike_as_each_alone(photos: list[Image.Image], threads: int) -> None:
    copies = [CHANGES[c](p) for p in photos[:4] for c in ("mirror", "crop", "half")]
    looks = dict(enumerate(thumbnail(p) for p in photos + copies))
    count = len(looks)
    assert len({look.shape for look in looks.values()}) >= 3  # batches of several shapes
    pairs = np.array([(a, b) for a in range(count + 1) for b in range(a + 1, count + 1)])
    enough = np.full(len(pairs), 0.97)
    found = compare(looks, pairs, np.ones(len(pairs), np.bool_), enough, threads=threads)
    alone = [likeness(looks[a], looks[b]) if b in looks else -1.0 for a, b in pairs.tolist()]
    assert found == pytest.approx(alone, abs=1e-5)
    assert min(found) == -1.0  # the last picture was not opened


def test_plain_pictures_are_alike_if_equally_bright() -> None:
    red, same, dark = (thumbnail(Image.new("RGB", (30, 20), c)) for c in ("red", "red", "black"))
    assert likeness(red, same) == 1.0
    assert likeness(red, dark) == 0.0


def test_plain_pictures_of_another_shape_are_not_alike() -> None:
    wide, square = (thumbnail(Image.new("RGB", size, "red")) for size in ((300, 20), (30, 30)))
    assert likeness(wide, square) == 0.0


def test_a_dark_picture_is_its_copy_and_no_black_one() -> None:
    bright = np.random.default_rng(0).integers(0, 6, (24, 36, 3)).astype(np.uint8)
    dark = Image.fromarray(bright).resize((360, 240), Image.Resampling.NEAREST)
    seen, smaller, black = (
        thumbnail(image) for image in (dark, dark.resize((180, 120)), Image.new("RGB", dark.size))
    )
    assert seen.std() < 2.0
    assert likeness(seen, smaller) > 0.9
    assert likeness(seen, black) == 0.0
