"""What a re-ranker looks at: pictures opened from where they are, or regions from files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mmsearch.cores import usable_cores
from mmsearch.encoders.pretrained import Loaded
from mmsearch.errors import BadPicture, BadRegions
from mmsearch.images import open_picture
from mmsearch.pipeline import map_ahead
from mmsearch.region_files import RegionFiles
from mmsearch.rerankers.places import Place
from mmsearch.sources import open_source

if TYPE_CHECKING:
    from PIL.Image import Image


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
        return self.of([place.source for place in places])

    def of(self, sources: Sequence[Any]) -> list[Any]:
        """Return the same of paths, `file:` URIs, files' bytes or decoded pictures."""
        opened = map_ahead(self._opened, sources, threads=self._threads, ahead=8)
        rows = [None if image is None else self._look(image) for image in opened]
        whole = [row for row in rows if row is not None]
        finished = iter(self._finish(whole) if whole else ())
        return [None if row is None else next(finished) for row in rows]

    def _opened(self, source: Any) -> Image | None:
        if not isinstance(source, str | bytes):
            image: Image = source
            return image
        return opened(source, self._side)


def opened(source: str | bytes, side: int | None = None) -> Image | None:
    """Return the picture at a path or a `file:` URI or of a file's bytes, or None if it does not
    open. Thread-safe."""
    try:
        if isinstance(source, str) and source.startswith("file:"):
            source = open_source(source)
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
        found = self._files.of(place.name) if place.name else None
        if found is None:
            return None
        if found.features.shape[1] != self._width:
            raise BadRegions(
                f"the regions in {found.path} have {found.features.shape[1]} features, the model "
                f"takes {self._width}: they are another detector's"
            )
        size = place.size
        if size is None:
            image = opened(place.source)
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
