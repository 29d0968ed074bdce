"""Many pictures' regions, found and written: a .npz file for each, whole or not at all."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import BadPicture, BadRegions
from mmsearch.images import open_picture
from mmsearch.pipeline import map_ahead
from mmsearch.region_files import picture_name
from mmsearch.regions import checked_regions, made_from, write_regions
from mmsearch.sources import place_of, source_at, source_hash
from mmsearch.types import Item, Picture, Sample, Skipped
from mmsearch.uris import printable

if TYPE_CHECKING:
    from mmsearch.detecting.detector import Detector

_AHEAD = 4  # pictures that are decoded while the detector looks at one


@dataclass(slots=True)
class RegionReport:
    """What a run has done. made: files written. there: pictures whose file was there already.
    skipped: pictures without one, and why."""

    made: int = 0
    there: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Return how many pictures the run is through with."""
        return self.made + self.there + len(self.skipped)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A picture before the detector. picture: None: its regions are there. content: its hash, ""
    if nobody knows it."""

    item: Item
    content: str
    picture: Picture | None


def pictures(samples: Iterable[Sample | Skipped]) -> Iterator[Sample | Skipped]:
    """Yield what is a picture, or was left out by its reader."""
    return (s for s in samples if isinstance(s, Skipped) or s.item.kind == "image")


def write_all(
    samples: Iterable[Sample | Skipped], detector: Detector, out: Path, *, force: bool = False,
    threads: int = 1, progress: Callable[[RegionReport], None] = lambda _: None,
) -> RegionReport:  # fmt: skip
    """Find the regions of pictures and write OUT/NAME.npz for each NAME.jpg.

    What is there already is not made again, if it is of that picture as it is now, and by this
    detector, or was not written by this function. Two pictures of one name: the first has the
    file, the other is reported, unless it is a copy.

    Args:
        samples: from `read`; texts among them are passed over.
        detector: from `load_detector`.
        out: a folder; made if it is not there.
        force: make anew what is there.
        threads: to open pictures.
        progress: called after each picture.

    Raises:
        BadRegions: a file that is there was made by another detector or setting.
        OSError: a file cannot be written; those before it are whole.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(detector, out, force)
    report = RegionReport()
    for one in map_ahead(run.look, pictures(samples), threads=threads, ahead=_AHEAD):
        done = one if isinstance(one, Skipped) else run.finish(one)
        if isinstance(done, Skipped):
            report.skipped.append(done)
        elif done:
            report.made += 1
        else:
            report.there += 1
        progress(report)
    return report


class _Run:
    def __init__(self, detector: Detector, out: Path, force: bool) -> None:
        self._detector, self._out, self._force = detector, out, force
        self._by = f"{detector.name}, {detector.boxes} boxes"
        self._taken: dict[str, _Looked] = {}

    def look(self, one: Sample | Skipped) -> _Looked | Skipped:
        """Do what a picture needs before the detector; called from threads."""
        if isinstance(one, Skipped):
            return one
        item = one.item
        try:
            before = {} if self._force else self._before(item)
            if before is None or (before.get("key"), before.get("stamp")) == (item.key, item.stamp):
                return _Looked(item, (before or {}).get("content", ""), None)
            source = source_at(place_of(one))
            content = source_hash(source)
            if before.get("content") == content:  # moved, copied, or its captions changed
                return _Looked(item, content, None)
            if before and before.get("key") != item.key:
                return _taken(item, before.get("key", ""))
            return _Looked(item, content, open_picture(source, target=self._detector.side))
        except BadPicture as error:
            return Skipped(item.key, item.uri, str(error), item.stamp)
        except OSError as error:
            return Skipped(item.key, item.uri, error.strerror or str(error), item.stamp)

    def finish(self, one: _Looked) -> Skipped | bool:
        """Find and write the regions of a picture; return False if they are there."""
        item = one.item
        first = self._taken.setdefault(picture_name(item), one)
        if first is not one:
            same = first.item.key == item.key or (one.content and first.content == one.content)
            return False if same else _taken(item, first.item.key)
        if one.picture is None:
            return False
        try:
            self._write(one, one.picture)
        except BadPicture as error:
            return Skipped(item.key, item.uri, str(error), item.stamp)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return Skipped(item.key, item.uri, f"no file of regions: {error.strerror}", item.stamp)
        return True

    def _write(self, one: _Looked, picture: Picture) -> None:
        path = self._path(one.item)
        found = self._detector.find(picture.image)
        size = int(str(picture.meta["width"])), int(str(picture.meta["height"]))
        boxes = found.boxes * [*size, *size]
        regions = checked_regions(str(path), found.features, boxes.astype("float32"), size)
        made = {"by": self._by, "key": one.item.key, "stamp": one.item.stamp,
                "content": one.content}  # fmt: skip
        write_regions(path, regions, found.scores, made)

    def _before(self, item: Item) -> dict[str, str] | None:
        """Return what the picture's file says of itself: {} if there is none, None if it is not
        of ours."""
        path = self._path(item)
        try:
            path.stat()
        except FileNotFoundError:
            return {}
        try:
            made = made_from(str(path))
        except BadRegions as error:
            raise BadPicture(f"{error}; --force makes it anew") from error
        if "by" not in made:
            return None
        if made["by"] != self._by:
            raise BadRegions(
                f"{printable(str(path))} was made by {made['by']}, and this is {self._by}: give "
                "another folder, or make all anew (--force)"
            )
        return made

    def _path(self, item: Item) -> Path:
        return self._out / f"{picture_name(item)}.npz"


def _taken(item: Item, other: str) -> Skipped:
    reason = (
        f"{printable(other)} has its name, by which regions are found, without the ending; only "
        "that one has regions here"
    )
    return Skipped(item.key, item.uri, reason, item.stamp)
