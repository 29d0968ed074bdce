"""Preprocessing: by hand on small pictures, and against the models' own code where installed."""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.images import open_picture
from mmsearch.preprocess import Preprocess
from tests.conftest import shared_data

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PLAIN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
# Landscape, portrait, odd spare pixels on both sides, smaller than the result, a panorama.
SIZES = [(640, 427), (333, 501), (224, 224), (31, 47), (225, 640), (1344, 224), (1, 1), (3, 40)]


def noise(width: int, height: int) -> Image.Image:
    levels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(levels)


def grey(*rows: list[int]) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8)).convert("RGB")


# --- by hand ----------------------------------------------------------------------------------


def test_the_shortest_side_is_scaled_and_the_centre_cropped():
    image = grey([0, 51, 102, 255], [0, 51, 102, 255])
    result = Preprocess(size=2, interpolation="nearest", **PLAIN)(image)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    expected = [[0.2, 0.4], [0.2, 0.4]]
    assert np.allclose(result, [expected] * 3, atol=1e-7)


def test_squash_keeps_the_borders_and_averages_pairs():
    image = grey([0, 51, 102, 255], [0, 51, 102, 255])
    result = Preprocess(size=2, resize_mode="squash", interpolation="bilinear", **PLAIN)(image)
    # Halving by an antialiased triangle of 4 pixels: weights 3, 3, 1 of 7 at the left border.
    left, right = (3 * 0 + 3 * 51 + 1 * 102) / 7, (1 * 51 + 3 * 102 + 3 * 255) / 7
    assert np.allclose(result[0] * 255, [[round(left), round(right)]] * 2, atol=1e-4)


def test_longest_pads_above_and_below_with_the_fill_colour():
    image = grey([255, 255, 255, 255], [255, 255, 255, 255])
    result = Preprocess(size=4, resize_mode="longest", fill_color=51, **PLAIN)(image)
    assert np.allclose(result[0, :, 0], [0.2, 1, 1, 0.2], atol=1e-7)


def test_channels_come_first_and_each_has_its_mean_and_std():
    image = Image.new("RGB", (2, 2), (255, 0, 51))
    result = Preprocess(size=1, mean=(0.5, 0.5, 0.1), std=(0.5, 0.25, 0.1))(image)
    assert result.shape == (3, 1, 1)
    assert np.allclose(result.ravel(), [1, -2, 1], atol=1e-6)


def test_a_crop_smaller_than_the_resize_takes_the_centre():
    image = grey(*[[0, 51, 102, 255]] * 4)
    result = Preprocess(size=2, resize=4, interpolation="nearest", **PLAIN)(image)
    assert np.allclose(result[0], [[0.2, 0.4]] * 2, atol=1e-7)


@pytest.mark.parametrize(("rounding", "level"), [("even", 0.4), ("down", 0.2)])
def test_the_crop_of_three_spare_pixels_rounds_as_told(rounding: Any, level: float):
    image = grey([0, 51, 102, 153])
    result = Preprocess(size=1, interpolation="nearest", crop_rounding=rounding, **PLAIN)(image)
    assert result[0, 0, 0] == pytest.approx(level)


# --- extreme shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (7, 3001)])
def test_extreme_shapes_work(mode: Any, size: tuple[int, int]):
    result = Preprocess(size=224, mean=MEAN, std=STD, resize_mode=mode)(noise(*size))
    assert result.shape == (3, 224, 224)
    assert np.isfinite(result).all()


def smooth(width: int, height: int) -> Image.Image:
    return noise(3, 5).resize((width, height), Image.Resampling.BILINEAR)


@pytest.mark.parametrize("size", [(10, 400), (400, 10), (37, 1001), (100, 4000)])
def test_of_a_long_strip_only_the_crops_part_is_resized_and_comes_out_alike(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    preprocess, images = Preprocess(size=64, **PLAIN), (smooth(*size), noise(*size))
    parts = [preprocess(image) * 255 for image in images]
    monkeypatch.setattr("mmsearch.preprocess._FULL_RESIZE_ASPECT", 1000)
    of_smooth, of_noise = (
        np.abs(preprocess(image) * 255 - part) for image, part in zip(images, parts, strict=True)
    )
    assert of_smooth.max() < 2.01
    assert of_noise.mean() < 0.5


def test_threads_get_the_same_answer():
    preprocess, image = Preprocess(size=64, mean=MEAN, std=STD), noise(300, 200)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(preprocess, [image] * 40))
    assert all(np.array_equal(result, results[0]) for result in results)


# --- settings ---------------------------------------------------------------------------------


def test_an_open_clip_file_is_read():
    text = """{"size": [256, 256], "mode": "RGB", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
               "interpolation": "bicubic", "resize_mode": "squash", "fill_color": 0}"""
    expected = Preprocess(size=256, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash")
    assert Preprocess.from_open_clip(json.loads(text)) == expected


CLIP: dict[str, Any] = {
    "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True,
    "do_rescale": True, "do_resize": True, "image_mean": list(MEAN), "image_std": list(STD),
    "resample": 3, "rescale_factor": 1 / 255, "size": {"shortest_edge": 224},
}  # fmt: skip


def test_old_and_new_clip_files_say_the_same():
    old = CLIP | {"size": 224, "crop_size": 224}
    assert Preprocess.from_transformers(old) == Preprocess.from_transformers(CLIP)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"size": [224, 196]}, "size"), ({"size": 0}, "size"), ({"size": "224"}, "size"),
        ({"mean": [0.5]}, "mean"), ({"mean": None}, "mean"), ({"std": [1, 0, 1]}, "std"),
        ({"interpolation": "cubic"}, "interpolation"), ({"resize_mode": "crop"}, "resize_mode"),
        ({"fill_color": 300}, "fill_color"), ({"mode": "L"}, "mode"),
    ],
)  # fmt: skip
def test_a_bad_open_clip_key_is_named(change: dict[str, Any], key: str):
    cfg = {"size": 224, "mean": MEAN, "std": STD} | change
    with pytest.raises(ValueError, match=f"^{key}: "):
        Preprocess.from_open_clip(cfg)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"do_resize": False}, "do_resize"), ({"resample": 4}, "resample"),
        ({"size": {"longest_edge": 224}}, "size"), ({"size": {"height": 2, "width": 3}}, "size"),
        ({"do_center_crop": False}, "do_center_crop"), ({"image_mean": None}, "image_mean"),
        ({"crop_size": 256}, "crop_size"), ({"image_std": "abc"}, "image_std"),
    ],
)  # fmt: skip
def test_a_bad_transformers_key_is_named(change: dict[str, Any], key: str):
    with pytest.raises(ValueError, match=f"^{key}: "):
        Preprocess.from_transformers(CLIP | change)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match=r"^size: missing"):
        Preprocess.from_transformers({key: CLIP[key] for key in CLIP if key != "size"})


# --- against the models' own code -------------------------------------------------------------


def imported(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's deprecations
        return pytest.importorskip(name)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", SIZES)
def test_it_equals_open_clip(mode: str, interpolation: str, size: tuple[int, int]):
    transform = imported("open_clip.transform").image_transform
    cfg = {"size": 224, "mean": MEAN, "std": STD, "interpolation": interpolation}
    cfg |= {"resize_mode": mode, "fill_color": 17}
    reference = transform(
        224, is_train=False, mean=MEAN, std=STD, interpolation=interpolation, resize_mode=mode,
        fill_color=17,
    )  # fmt: skip
    ours = Preprocess.from_open_clip(cfg)(noise(*size))
    assert np.abs(ours - reference(noise(*size)).numpy()).max() <= 1e-5


def processor(name: str, **settings: Any) -> Any:
    """Return a transformers image processor on Pillow: the "Pil" class, or the old slow one."""
    transformers = imported("transformers")
    cls = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    return cls(**settings)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CLIPImageProcessor", {}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 256}, "resample": 2}),
        ("ChineseCLIPImageProcessor", {}),
        ("ChineseCLIPImageProcessor",
         {"size": {"height": 224, "width": 224}, "do_center_crop": False}),
        ("SiglipImageProcessor", {}),
        ("SiglipImageProcessor", {"size": {"height": 256, "width": 256}, "do_normalize": False}),
        ("SiglipImageProcessor", {"resample": 1, "do_rescale": False}),
    ],
)  # fmt: skip
def test_it_equals_transformers(name: str, settings: dict[str, Any], size: tuple[int, int]):
    reference = processor(name, **settings)
    # The channel axis is given: a picture 1 or 3 pixels high would be guessed wrongly.
    theirs = reference(noise(*size), return_tensors="np", input_data_format="channels_last")
    ours = Preprocess.from_transformers(reference.to_dict())(noise(*size))
    assert np.abs(ours - theirs["pixel_values"][0]).max() <= 1e-5


def test_it_equals_open_clip_and_transformers_on_photos():
    paths = sorted(shared_data("flickr8k").glob("test/*.jpg"))[:10]
    assert paths
    transform = imported("open_clip.transform").image_transform(
        224, is_train=False, mean=MEAN, std=STD
    )
    reference = processor("CLIPImageProcessor")
    from_open_clip = Preprocess.from_open_clip({"size": 224, "mean": MEAN, "std": STD})
    from_transformers = Preprocess.from_transformers(reference.to_dict())
    for path in paths:
        image = open_picture(path).image
        assert np.abs(from_open_clip(image) - transform(image).numpy()).max() <= 1e-5
        theirs = reference(image, return_tensors="np")["pixel_values"][0]
        assert np.abs(from_transformers(image) - theirs).max() <= 1e-5
