"""What a re-ranker looks at: pictures opened from where they are, or regions from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmsearch.cores import usable_cores
from mmsearch.encoders.pretrained import Loaded
from mmsearch.errors import BadPicture, BadRegions
from mmsearch.images import open_picture
from mmsearch.pipeline import map_ahead
from mmsearch.region_files import RegionFiles
from mmsearch.sources import open_source
from mmsearch.types import Item, Query
from mmsearch.uris import is_part, path_of

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture is. source: a path, a `file:` URI, or the picture itself. name: its file's,
    "" if it has none. key: to know it again by; None: not to be kept. size: width and height, if
    they are known."""

    source: Any
    name: str
    key: tuple[str, str] | None = None
    size: tuple[int, int] | None = None


def place_of_item(item: Item) -> Place:
    """Return where a stored picture is."""
    width, height = item.meta.get("width"), item.meta.get("height")
    known = isinstance(width, int) and isinstance(height, int)
    name = item.key if is_part(item.uri) or not item.uri else _path(item.uri)
    size = (width, height) if known else None
    return Place(item.uri, name, (item.uri, item.stamp), size)  # type: ignore[arg-type]


def place_of_query(query: Query) -> Place:
    """Return where a query's picture is."""
    if isinstance(query.image, str | os.PathLike):
        path = os.fspath(query.image)
        return Place(path, _path(path))
    return Place(query.image, "")


def _path(place: str) -> str:
    return path_of(place) if place.startswith("file:") else place


class Pixels:
    """Opens pictures, several at a time, and gives them to a family.

    Args:
        look: returns what the family keeps of one picture, one row of tensors each.
        side: in pixels that the family scales to at most; None: the picture as it is.
        threads: to open them; None: the cores that this process may use.
        finish: what the family makes of several pictures' rows by one call of the model.
    """

    def __init__(
        self, look: Callable[[Image], Any], side: int | None, threads: int | None,
        finish: Callable[[Sequence[Any]], Sequence[Any]] = lambda rows: rows,
    ) -> None:  # fmt: skip
        self._look, self._side, self._finish = look, side, finish
        self._threads = threads or usable_cores()

    def __call__(self, places: Sequence[Place]) -> list[Any]:
        """Return what is kept of each picture; None where it does not open."""
        opened = map_ahead(self._opened, places, threads=self._threads, ahead=8)
        rows = [None if image is None else self._look(image) for image in opened]
        whole = [row for row in rows if row is not None]
        finished = iter(self._finish(whole) if whole else ())
        return [None if row is None else next(finished) for row in rows]

    def _opened(self, place: Place) -> Image | None:
        if not isinstance(place.source, str):
            image: Image = place.source
            return image
        return opened(place, self._side)


def opened(place: Place, side: int | None = None) -> Image | None:
    """Return a picture, or None if it does not open. Thread-safe."""
    at = place.source
    try:
        source = open_source(at) if at.startswith("file:") else at
        return open_picture(source, target=side).image
    except (BadPicture, OSError, ValueError):
        return None


def pixels_of(loaded: Loaded, image: Image, *names: str) -> dict[str, torch.Tensor]:
    """Return what a family's processor makes of one picture: "pixel_values", or these names of
    it."""
    made = loaded.processor.image_processor(images=image, return_tensors="pt")
    return loaded.moved({name: made[name] for name in names or ("pixel_values",) if name in made})


def side_of(processor: Any) -> int | None:
    """Return the longest side in pixels that a processor of transformers scales to, if it says."""
    size = getattr(processor.image_processor, "size", None) or {}
    sides = [size[n] for n in ("height", "width", "shortest_edge") if size.get(n)]
    return max(sides) if sides else None


class Detected:
    """Reads a detector's regions of pictures, as a family's two tensors.

    Args:
        loaded: of the family, for the device.
        files: where they are.
        width: of the features that the model takes.
        boxes: whether it takes boxes too.
    """

    def __init__(self, loaded: Loaded, files: RegionFiles, width: int, *, boxes: bool) -> None:
        self._loaded, self._files, self._width, self._boxes = loaded, files, width, boxes

    def __call__(self, places: Sequence[Place]) -> list[dict[str, torch.Tensor] | None]:
        """Return "features" (1, n, width) and "boxes" (1, n, 4; from 0 to 1) of each picture;
        None where there are none.

        Raises:
            BadRegions: they are damaged, another picture's, or of another detector.
        """
        return [self._regions(place) for place in places]

    def _regions(self, place: Place) -> dict[str, torch.Tensor] | None:
        found = self._files.of(Path(place.name).stem) if place.name else None
        if found is None:
            return None
        if found.features.shape[1] != self._width:
            raise BadRegions(
                f"the regions in {found.path} have {found.features.shape[1]} features, the model "
                f"takes {self._width}: they are another detector's"
            )
        size = place.size
        if size is None:
            image = opened(place)
            if image is None:
                return None
            size = image.size
        made = {"features": torch.from_numpy(found.features)[None]}
        boxes = torch.from_numpy(found.relative(size))[None]
        return self._loaded.moved(made | ({"boxes": boxes} if self._boxes else {}))


def regions_for(family: str, path: Path | None) -> RegionFiles:
    """Return the files of regions for a family that needs them.

    Raises:
        BadRegions: none were given, or there are none.
    """
    if path is None:
        raise BadRegions(
            f"{family} looks at a detector's regions: give --regions, a folder of .npz files or a "
            "TSV file (docs/reranking.md)"
        )
    return RegionFiles(path)
