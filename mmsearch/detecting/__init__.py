"""Regions of pictures, found by a detector and written where re-rankers look for them.

Importing this package costs nothing: torchvision is imported when a detector is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import MissingExtra

if TYPE_CHECKING:
    from mmsearch.detecting.detector import Detector

DETECTORS = (
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
BOXES = 36  # as many as LXMERT was trained with


def load_detector(
    name: str = DETECTORS[0], weights: Path | None = None, *, boxes: int = BOXES,
    threads: int | None = None, device: str | None = None, progress: bool = False,
) -> Detector:  # fmt: skip
    """Return a detector with its weights.

    Args:
        name: one of DETECTORS.
        weights: a file with its state dict, of any number of classes; None: torchvision's own,
            trained on COCO, from torch's cache or fetched into it once.
        boxes: regions of a picture, at most.
        threads: CPU threads; None: the cores that this process may use.
        device: "cpu", "cuda", "cuda:N", "mps"; None: the best there is.
        progress: show the fetching on stderr.

    Raises:
        UnknownName: no detector has that name.
        MissingExtra: torchvision is not installed.
        ModelUnavailable: the weights are not to be had, damaged, or another model's; no such
            device.
    """
    try:
        from mmsearch.detecting.detector import open_detector
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"torch", "torchvision"}:
            raise
        raise MissingExtra(f"a detector ({error.name})", "torch") from error
    return open_detector(
        name, weights, boxes=boxes, threads=threads, device=device, progress=progress
    )
