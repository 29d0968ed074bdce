"""From a picture to what a vision tower eats: resize, crop or pad, normalise. Pillow and numpy.

The arithmetic follows the two libraries whose models we run, to the last rounding: open_clip
(`transform.image_transform`, torchvision on Pillow pictures) and transformers (the Pillow
back end of its CLIP, ChineseCLIP and SigLIP image processors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

ResizeMode = Literal["shortest", "squash", "longest"]
Interpolation = Literal["bicubic", "bilinear", "nearest", "lanczos"]
Rounding = Literal["even", "down"]
Triple = tuple[float, float, float]

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
# Resized in full before the crop up to this aspect ratio, as the references do. Beyond it
# only the crop's own part is made: a 1 x 5000 picture would grow to 224 x 1,120,000 pixels.
# Pillow may then choose the other order of its two passes, whose roundings differ: by up to 2
# grey levels on smooth pictures, by 0.5 in the mean on noise.
_FULL_RESIZE_ASPECT = 16


@dataclass(frozen=True, slots=True)
class Preprocess:
    """A vision tower's preprocessing. Call it with a picture; thread-safe.

    size: side in pixels of the square result. mean, std: for each channel, of values in 0..1
    (before that the 0..255 levels are multiplied by `rescale`).
    resize_mode: "shortest" scales the short side to `resize` and crops the centre; "squash"
    scales both sides to `resize`, aspect ratio lost, and crops the centre; "longest" scales
    the long side to `size` and pads with the grey level `fill_color` (0 to 255).
    resize: side in pixels before the crop, `size` or more; None means `size`.
    crop_rounding: where a centre falls between two pixels: "even" as torchvision (Python's
    `round`), "down" as transformers.

    Raises:
        ValueError: a field is out of its range; the message names it.
    """

    size: int
    mean: Triple
    std: Triple
    interpolation: Interpolation = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0
    resize: int | None = None
    rescale: float = 1 / 255
    crop_rounding: Rounding = "even"

    def __post_init__(self) -> None:
        _positive("size", self.size)
        _triple("mean", self.mean)
        if 0 in _triple("std", self.std):
            raise ValueError(f"std: {self.std!r} has a zero")
        _one_of("interpolation", self.interpolation, get_args(Interpolation))
        _one_of("resize_mode", self.resize_mode, get_args(ResizeMode))
        _one_of("crop_rounding", self.crop_rounding, get_args(Rounding))
        if not 0 <= self.fill_color <= 255:
            raise ValueError(f"fill_color: {self.fill_color!r} is not within 0 to 255")
        if self.resize is not None and _positive("resize", self.resize) < self.size:
            raise ValueError(f"resize: {self.resize} is less than the crop's size, {self.size}")

    @classmethod
    def from_open_clip(cls, cfg: Mapping[str, Any]) -> Preprocess:
        """Return what open_clip's `preprocess_cfg` says (Immich: visual/preprocess_cfg.json).

        Missing keys, all but mean and std, get open_clip's own defaults. `resize`, `rescale` and
        `crop_rounding` are ours, for what transformers' models need beyond them.

        Raises:
            ValueError: a key is missing or its value is not supported; the message names it.
        """
        _one_of("mode", cfg.get("mode", "RGB"), ("RGB",))
        interpolation: Any = cfg.get("interpolation") or "bicubic"
        if interpolation == "random":  # a training choice; open_clip then infers with bicubic
            interpolation = "bicubic"
        return cls(
            size=_square("size", cfg.get("size", 224)),
            mean=_triple("mean", cfg.get("mean")),
            std=_triple("std", cfg.get("std")),
            interpolation=interpolation,
            resize_mode=cfg.get("resize_mode") or "shortest",
            fill_color=_whole("fill_color", cfg.get("fill_color", 0)),
            resize=cfg.get("resize"),
            rescale=float(cfg.get("rescale", 1 / 255)),
            crop_rounding=cfg.get("crop_rounding", "even"),
        )

    def as_open_clip(self) -> dict[str, Any]:
        """Return the `preprocess_cfg` from which `from_open_clip` makes the same."""
        config: dict[str, Any] = {
            "size": [self.size, self.size],
            "mode": "RGB",
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill_color,
        }
        ours = {"resize": self.resize, "rescale": self.rescale, "crop_rounding": self.crop_rounding}
        defaults = {"resize": None, "rescale": 1 / 255, "crop_rounding": "even"}
        return config | {key: v for key, v in ours.items() if v != defaults[key]}

    @classmethod
    def from_transformers(cls, cfg: Mapping[str, Any]) -> Preprocess:
        """Return what a preprocessor_config.json of CLIP, ChineseCLIP or SigLIP style says.

        A plain number as `size` is the short side where a centre crop follows (the old CLIP
        files), else both sides.

        Raises:
            ValueError: a key is missing or its value is not supported; the message names it.
        """
        if not cfg.get("do_resize", True):
            raise ValueError("do_resize: without a resize the result has no fixed size")
        if "size" not in cfg:
            raise ValueError("size: missing")
        crops = cfg.get("do_center_crop", "crop_size" in cfg)
        given = cfg["size"]
        if isinstance(given, int) and crops:
            given = {"shortest_edge": given}
        shortest = isinstance(given, Mapping) and set(_set_keys(given)) == {"shortest_edge"}
        resize = _whole("size", given["shortest_edge"]) if shortest else _square("size", given)
        if shortest and not crops:
            raise ValueError("do_center_crop: size has a shortest_edge and nothing crops the rest")
        if crops and "crop_size" not in cfg:
            raise ValueError("crop_size: missing, and do_center_crop is set")
        size = _square("crop_size", cfg["crop_size"]) if crops else resize
        if size > resize:
            raise ValueError(f"crop_size: {size} is more than the resize gives, {resize}")
        normalises = cfg.get("do_normalize", True)
        return cls(
            size=size,
            mean=_triple("image_mean", cfg.get("image_mean")) if normalises else (0.0, 0.0, 0.0),
            std=_triple("image_std", cfg.get("image_std")) if normalises else (1.0, 1.0, 1.0),
            interpolation=_resample(cfg.get("resample", Image.Resampling.BICUBIC)),
            resize_mode="shortest" if shortest else "squash",
            resize=resize,
            rescale=float(cfg.get("rescale_factor", 1 / 255)) if cfg.get("do_rescale", True) else 1,
            crop_rounding="down",
        )

    def __call__(self, image: Image.Image) -> npt.NDArray[np.float32]:
        """Return (3, size, size) float32, C-contiguous: red, green, blue; rows from the top.

        Another mode than RGB is converted as Pillow does; `open_picture` does it better.
        """
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        pixels = np.asarray(self._square(rgb))  # (size, size, 3) uint8
        # A level can only be one of 256, so the references' float32 arithmetic is done for
        # those, and each pixel looks its result up: as exact, and faster.
        levels = (np.arange(256) * self.rescale).astype(np.float32)
        mean, std = (np.array(triple, np.float32)[:, None] for triple in (self.mean, self.std))
        table = (levels - mean) / std  # (3, 256)
        result = np.empty((3, self.size, self.size), np.float32)
        for channel in range(3):
            # There is nothing to clip; "raise", the default, looks first.
            np.take(table[channel], pixels[:, :, channel], out=result[channel], mode="clip")
        return result

    def _square(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        side = self.resize or self.size
        if self.resize_mode == "longest":
            return self._padded(image)
        if self.resize_mode == "squash":
            return self._cropped(image, side, side)
        if width <= height:
            return self._cropped(image, side, int(side * height / width))
        return self._cropped(image, int(side * width / height), side)

    def _cropped(self, image: Image.Image, width: int, height: int) -> Image.Image:
        """Return the centre of the picture scaled to width x height, size x size of it."""
        left, top = self._margin(width), self._margin(height)
        box = (left, top, left + self.size, top + self.size)
        resampling = _RESAMPLING[self.interpolation]
        if max(width, height) <= _FULL_RESIZE_ASPECT * min(width, height):
            whole = image.resize((width, height), resampling)
            return whole if whole.size == (self.size, self.size) else whole.crop(box)
        x, y = image.width / width, image.height / height
        part = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
        # Rounding may carry the far border past the picture's, which Pillow refuses.
        part = (*part[:2], min(part[2], image.width), min(part[3], image.height))
        return image.resize((self.size, self.size), resampling, box=part)

    def _margin(self, length: int) -> int:
        spare = length - self.size
        return round(spare / 2) if self.crop_rounding == "even" else spare // 2

    def _padded(self, image: Image.Image) -> Image.Image:
        ratio = max(image.size) / self.size
        width, height = (max(1, round(length / ratio)) for length in image.size)
        scaled = image.resize((width, height), _RESAMPLING[self.interpolation])
        square = Image.new("RGB", (self.size, self.size), (self.fill_color,) * 3)
        square.paste(scaled, ((self.size - width) // 2, (self.size - height) // 2))
        return square


def _set_keys(size: Mapping[str, Any]) -> list[str]:
    return [key for key, value in size.items() if value is not None]


def _whole(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key}: {value!r} is not a whole number")
    return value


def _positive(key: str, value: object) -> int:
    number = _whole(key, value)
    if number < 1:
        raise ValueError(f"{key}: {value!r} is not positive")
    return number


def _square(key: str, value: object) -> int:
    """Return the side that 224, [224], [224, 224] or {"height": 224, "width": 224} says."""
    sides: Sequence[object] = [value]
    if isinstance(value, Mapping):
        if set(_set_keys(value)) != {"height", "width"}:
            raise ValueError(f"{key}: {value!r} is not supported")
        sides = [value["height"], value["width"]]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        sides = value
    if len(set(map(str, sides))) != 1 or len(sides) > 2:
        raise ValueError(f"{key}: {value!r} is not a square")
    return _positive(key, sides[0])


def _triple(key: str, value: object) -> Triple:
    if not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(f"{key}: {value!r} is not three numbers")
    try:
        red, green, blue = (float(number) for number in value)
    except (TypeError, ValueError):
        raise ValueError(f"{key}: {value!r} is not three numbers") from None
    return red, green, blue


def _one_of(key: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{key}: {value!r} is not one of {', '.join(known)}")


def _resample(value: object) -> Interpolation:
    names: dict[object, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
    if value not in names:
        raise ValueError(f"resample: {value!r} is not one of 0, 1, 2, 3")
    return names[value]
