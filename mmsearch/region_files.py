"""Where the regions of many pictures are: a folder of .npz files, or one TSV file."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import BadRegions
from mmsearch.regions import Regions, checked_regions, read_regions
from mmsearch.types import Item
from mmsearch.uris import is_part, path_of, printable

# The columns of bottom-up attention's files (github.com/peteanderson80/bottom-up-attention,
# tools/generate_tsv.py) and of LXMERT's (github.com/airsplay/lxmert, src/utils.py), none of which
# has a header line. Boxes and features are float32 in base64.
_COLUMNS = {
    6: ("id", "width", "height", "n", "boxes", "features"),
    10: ("id", "height", "width", "", "", "", "", "n", "boxes", "features"),
}
_COCO = re.compile(r"(?:^|_)(\d{12})$")  # COCO_val2014_000000000042: its id is 42


def picture_name(item: Item) -> str:
    """Return the name by which a stored picture's regions are found: its file's, without ending.

    A picture inside another file has the name that its key ends in.
    """
    if is_part(item.uri) or not item.uri:
        return Path(item.key).stem
    return Path(path_of(item.uri) if item.uri.startswith("file:") else item.uri).stem


class RegionFiles:
    """The regions of many pictures, by their files' names.

    Args:
        path: a folder with NAME.npz for each picture NAME.jpg; or a TSV file as bottom-up
            attention or LXMERT writes it, a line a picture. That file is read through once.

    Raises:
        BadRegions: there is no such folder or file, or no regions in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[str, int] = {}
        if path.is_dir():
            if next(path.glob("*.npz"), None) is None:
                raise BadRegions(f"{printable(str(path))} holds no .npz file of regions")
            return
        try:
            with path.open("rb") as file:
                at = 0
                for line in file:
                    self._lines[line.split(b"\t", 1)[0].decode("utf8", "replace")] = at
                    at += len(line)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadRegions(f"{printable(str(path))} cannot be read: {reason}") from error
        if not self._lines:
            raise BadRegions(f"{printable(str(path))} is empty")

    def of(self, stem: str) -> Regions | None:
        """Return the regions of the picture with this file name, without its ending; or None.

        In a TSV file a picture of COCO is known by its number too.

        Raises:
            BadRegions: they are damaged.
        """
        if not self._lines:
            path = self._path / f"{stem}.npz"
            return read_regions(str(path)) if path.is_file() else None
        coco = _COCO.search(stem)
        names = [stem, str(int(coco[1]))] if coco else [stem]
        at = next((self._lines[name] for name in names if name in self._lines), None)
        if at is None:
            return None
        with self._path.open("rb") as file:
            file.seek(at)
            line = file.readline()
        return _regions_in(line, f"{self._path} ({stem})")


def _regions_in(line: bytes, name: str) -> Regions:
    fields = line.rstrip(b"\r\n").split(b"\t")
    columns = _COLUMNS.get(len(fields))
    if columns is None:
        raise BadRegions(
            f"{printable(name)} has {len(fields)} columns; bottom-up attention's files have 6, "
            "LXMERT's 10"
        )
    row: dict[str, Any] = dict(zip(columns, fields, strict=True))
    try:
        n, width, height = (int(row[name]) for name in ("n", "width", "height"))
        boxes, features = (
            np.frombuffer(base64.b64decode(row[name], validate=True), "<f4").reshape(n, -1)
            for name in ("boxes", "features")
        )
    except ValueError as error:
        raise BadRegions(f"{printable(name)} cannot be read as regions: {error}") from error
    # A copy: what frombuffer gives cannot be written to, which torch warns of.
    return checked_regions(name, features.copy(), boxes.copy(), (width, height))
