"""A detector's regions of a picture, which LXMERT and UNITER look at: a .npz file a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from mmsearch.errors import BadRegions
from mmsearch.files import write_whole
from mmsearch.uris import printable

Floats = npt.NDArray[np.float32]
_EDGE = 1.0  # pixels that a box may reach over its picture: detectors round

# What numpy has been seen to raise on files that are damaged, or none of its own.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, AttributeError, BadZipFile)


@dataclass(frozen=True, slots=True)
class Regions:
    """What a detector found. path: where it is from. features: (n, width). boxes: (n, 4), left,
    top, right, bottom in pixels of a picture of size (width, height)."""

    path: str
    features: Floats
    boxes: Floats
    size: tuple[int, int]

    def relative(self, size: tuple[int, int]) -> Floats:
        """Return the boxes from 0 to 1, if they are of a picture of this size.

        A picture that was scaled is still the same picture: its sides' ratio is compared.

        Raises:
            BadRegions: the picture has another shape.
        """
        (w, h), (width, height) = self.size, size
        # A side that was rounded to whole pixels may be half a pixel off.
        if abs(w * height - h * width) > (max(w, h) + max(width, height)) / 2:
            raise BadRegions(
                f"the regions in {printable(self.path)} are of a picture of {w} x {h}, this one "
                f"has {width} x {height}: they belong to another picture"
            )
        scaled = self.boxes / np.array([w, h, w, h], np.float32)
        clipped: Floats = np.clip(scaled, 0, 1).astype(np.float32)
        return clipped


def read_regions(path: str) -> Regions:
    """Return the regions in a .npz file.

    It holds `features` (n, width), `boxes` (n, 4) in pixels, and `size`: the picture's width
    and height, or `image_width` and `image_height`.

    Raises:
        BadRegions: it cannot be read, lacks an array, or its arrays do not fit together.
    """
    name = printable(path)
    try:
        with np.load(Path(path), allow_pickle=False) as found:
            arrays = {key: np.asarray(found[key]) for key in found.files}
    except _UNREADABLE as error:
        raise BadRegions(f"{name} cannot be read as regions (.npz): {error}") from error
    if "size" not in arrays and {"image_width", "image_height"} <= arrays.keys():
        arrays["size"] = np.array([arrays["image_width"], arrays["image_height"]]).reshape(-1)
    if missing := {"features", "boxes", "size"} - arrays.keys():
        raise BadRegions(f"{name} lacks the arrays {', '.join(sorted(missing))}")
    try:
        features = arrays["features"].astype(np.float32)
        boxes = arrays["boxes"].astype(np.float32)
        width, height = (int(side) for side in arrays["size"])
    except (TypeError, ValueError) as error:
        raise BadRegions(f"{name} holds no numbers where they are expected: {error}") from error
    return checked_regions(path, features, boxes, (width, height))


def write_regions(path: Path, regions: Regions, scores: Floats, made: Mapping[str, str]) -> None:
    """Write a .npz file, whole or not at all.

    Args:
        path: of the file.
        regions: that `read_regions` will return.
        scores: (n,), how sure the detector is of each.
        made: what `made_from` will return: what the regions are of, and of which detector.

    Raises:
        OSError: it cannot be written.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "features": regions.features, "boxes": regions.boxes, "size": np.array(regions.size),
        "scores": scores, "made_from": np.array(json.dumps(made)),
    }  # fmt: skip
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def made_from(path: str) -> dict[str, str]:
    """Return what `write_regions` was told of a file; {} if something else has written it.

    Raises:
        BadRegions: it cannot be read.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as found:
            known = json.loads(str(found["made_from"])) if "made_from" in found.files else {}
            return {str(name): str(value) for name, value in known.items()}
    except _UNREADABLE as error:
        raise BadRegions(f"{printable(path)} cannot be read as regions (.npz): {error}") from error


def checked_regions(path: str, features: Floats, boxes: Floats, size: tuple[int, int]) -> Regions:
    """Return these regions, if they fit together.

    Raises:
        BadRegions: they do not; the message names the path.
    """
    name, (width, height) = printable(path), size
    if features.ndim != 2 or not len(features) or boxes.shape != (len(features), 4):
        raise BadRegions(
            f"{name} has features {features.shape} and boxes {boxes.shape}; (n, width) and (n, 4) "
            "are needed"
        )
    if not (np.isfinite(features).all() and np.isfinite(boxes).all()) or min(width, height) < 1:
        raise BadRegions(f"{name} holds NaN, infinity or a picture without size")
    low, high = boxes.min(0), boxes.max(0)
    if low.min() < -_EDGE or high[2] > width + _EDGE or high[3] > height + _EDGE:
        raise BadRegions(f"{name} has boxes outside of its picture of {width} x {height}")
    return Regions(path, features, boxes, size)
