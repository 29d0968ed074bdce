"""Every mode ends as sRGB on white; a big picture is reduced without a full RGB copy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from mmsearch.images import open_picture
from tests.mmsearch.pictures import encoded, photo

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def colours(data: bytes, **options: object) -> np.ndarray:
    """Return the decoded pixels, (height, width, 3)."""
    return np.asarray(open_picture(data, **options).image).astype(int)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_goes_onto_white(mode: str):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.paste((*BLACK, 255), (0, 0, 2, 4))
    got = colours(encoded(clear.convert(mode), "PNG"))
    assert tuple(got[0, 0]) == BLACK
    assert tuple(got[0, 3]) == WHITE


@pytest.mark.parametrize(("mode", "value"), [("RGB", RED), ("L", 90), ("1", 0), ("P", 0)])
def test_a_transparent_colour_goes_onto_white(mode: str, value: object):
    image = Image.new(mode, (4, 4), value)
    got = colours(encoded(image, "PNG", transparency=image.getpixel((0, 0))))
    assert (got == 255).all()


def test_half_transparent_black_is_grey():
    got = colours(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert np.unique(got).tolist() == [127]


def test_16_bit_grey_keeps_its_levels():
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert colours(encoded(deep, "PNG"))[0, :, 0].tolist() == [0, 100, 255]


def test_the_transparent_level_of_16_bit_grey_is_white():
    deep = Image.fromarray(np.array([[0, 257 * 100]], np.uint16))
    assert colours(encoded(deep, "PNG", transparency=0))[0, :, 0].tolist() == [255, 100]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 51.0, 255.0], [0, 51, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([-np.inf, 0.5, np.inf], [0, 128, 255]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
        ([7e8, 7e8, 7e8], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_their_range(values: list[float], levels: list[int]):
    image = Image.fromarray(np.array([values], np.float32))
    assert colours(encoded(image, "TIFF"))[0, :, 0].tolist() == levels


def test_32_bit_integers_beyond_16_bits_are_stretched():
    image = Image.fromarray(np.array([[-100_000, 0, 100_000]], np.int32))
    assert colours(encoded(image, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


def test_a_cmyk_jpeg_is_not_inverted():
    got = colours(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(got - RED).max() < 8


def test_lab_becomes_its_colours():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (8, 8), (200, 60, 90)), to_lab)
    assert np.abs(colours(encoded(lab, "TIFF")) - (200, 60, 90)).max() <= 4


def swapped_profile() -> bytes:
    """Return an sRGB profile whose red and blue primaries are exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_an_icc_profile_is_applied(mode: str):
    image = Image.new("RGB", (8, 8), RED).convert(mode)
    got = colours(encoded(image, "PNG", icc_profile=swapped_profile()))
    assert np.abs(got - (0, 0, 255)).max() <= 3


@pytest.mark.parametrize("profile", [b"garbage", swapped_profile()[:200], b"\0" * 500])
def test_a_broken_icc_profile_is_ignored(profile: bytes):
    data = encoded(Image.new("RGB", (8, 8), RED), "PNG", icc_profile=profile)
    assert np.abs(colours(data) - RED).max() == 0


def test_a_profile_of_other_colours_is_ignored():
    profile = swapped_profile()
    of_grey = profile[:16] + b"GRAY" + profile[20:]
    data = encoded(Image.new("RGB", (8, 8), RED), "PNG", icc_profile=of_grey)
    assert (colours(data) == RED).all()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_frame_is_the_picture(form: str):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLACK, WHITE)]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert np.abs(colours(data) - RED).max() < 5


# --- big pictures -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LA", "LAB"])
def test_a_picture_reduced_in_strips_is_the_whole_one_reduced(
    mode: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mmsearch.pixels.REDUCE_ABOVE", 1000)
    monkeypatch.setattr("mmsearch.pixels._STRIP_PIXELS", 2000)
    image = photo(301, 203)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    else:
        image = image.convert(mode)
    data = encoded(image, "TIFF")
    reduced = open_picture(data, target=20)
    expected = open_picture(data).image.reduce(5)  # 203 // (2 * 20)
    assert reduced.image.size == expected.size == (61, 41)
    assert np.abs(np.asarray(reduced.image).astype(int) - np.asarray(expected)).max() <= 1


def test_a_large_bilevel_picture_does_not_take_its_size_in_rgb(tmp_path: Path):
    pytest.importorskip("resource")
    path = tmp_path / "scan.png"
    Image.effect_noise((9000, 9000), 90).convert("1").save(path)
    code = (
        "import resource, sys; from mmsearch.images import open_picture\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "idle = peak(); open_picture(sys.argv[1], target=256); print(peak() - idle)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 200  # MB; one byte a pixel is 81, an RGB copy would be 324 more
