"""A Faster R-CNN of torchvision: where something is in a picture, and the features of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torchvision.models import detection
from torchvision.ops import boxes as box_ops

from mmsearch.cores import usable_cores
from mmsearch.detecting import BOXES, DETECTORS
from mmsearch.detecting.published import is_published, published_weights
from mmsearch.encoders.state_dicts import read_state_dict
from mmsearch.encoders.torch_backend import pick_device
from mmsearch.encoders.weights import hash_files, remembered
from mmsearch.errors import BadPicture, ModelUnavailable, UnknownName
from mmsearch.regions import Floats

if TYPE_CHECKING:
    from PIL.Image import Image

_SMALLEST = 1.0  # pixels of a box's side, in the picture as the detector scales it


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector sees in a picture, the most confident first.

    features: (n, width). boxes: (n, 4), left, top, right, bottom, 0 to 1. scores: (n,), 0 to 1.
    """

    features: Floats
    boxes: Floats
    scores: Floats


class Detector:
    """A Faster R-CNN in evaluation mode. Not for two threads at once.

    `side` is the longest side in pixels that it scales a picture to.

    Args:
        model: torchvision's; it is moved to the device.
        name: that tells its weights apart from others.
        boxes: regions of a picture, at most.
        device: to run on; None: the CPU.
    """

    def __init__(
        self, model: Any, name: str, *, boxes: int = BOXES, device: torch.device | None = None
    ) -> None:
        self._device = device or torch.device("cpu")
        self._model = model.eval().requires_grad_(False).to(self._device)
        self.name, self.boxes = name, boxes
        self.side = int(model.transform.max_size)

    def find(self, image: Image) -> Found:
        """Return the regions of an RGB picture.

        Of every proposal the likeliest class counts. Of boxes that overlap by more than the
        detector's own threshold, of whatever class, the most confident is kept (NMS). A region's
        features are what the detector's box head makes of its final box.

        Raises:
            BadPicture: nothing is found in it, or the detector cannot look at such a shape.
        """
        pixels = torch.from_numpy(np.array(image)).to(self._device).permute(2, 0, 1) / 255
        try:
            with torch.inference_mode():
                features, boxes, scores = self._found(pixels)
        except (RuntimeError, ValueError, ZeroDivisionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise BadPicture(
                f"the detector cannot look at {image.width} x {image.height} pixels: {reason[0]}"
            ) from error
        if not len(scores):
            raise BadPicture("the detector finds nothing in it")
        return Found(*(one.cpu().numpy() for one in (features, boxes, scores)))

    def _found(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return features (n, width), boxes (n, 4) from 0 to 1, and scores (n,)."""
        heads = self._model.roi_heads
        given, _ = self._model.transform([pixels])
        height, width = given.image_sizes[0]
        maps = self._model.backbone(given.tensors)
        proposals, _ = self._model.rpn(given, maps)

        def features(boxes: torch.Tensor) -> torch.Tensor:
            pooled = heads.box_roi_pool(maps, [boxes], given.image_sizes)
            made: torch.Tensor = heads.box_head(pooled)
            return made

        seen = features(proposals[0])
        if not len(seen):
            return seen, proposals[0], seen.new_zeros(0)
        logits, moves = heads.box_predictor(seen)
        scores, classes = logits.softmax(-1)[:, 1:].max(-1)  # 0 is the background
        moved = heads.box_coder.decode(moves, proposals)
        boxes = moved[torch.arange(len(moved), device=moved.device), classes + 1]
        boxes = box_ops.clip_boxes_to_image(boxes, (height, width))
        kept = box_ops.remove_small_boxes(boxes, _SMALLEST)
        kept = kept[box_ops.nms(boxes[kept], scores[kept], heads.nms_thresh)][: self.boxes]
        boxes = boxes[kept]
        return features(boxes), boxes / boxes.new_tensor([width, height] * 2), scores[kept]


def open_detector(
    name: str, weights: Path | None = None, *, boxes: int = BOXES, threads: int | None = None,
    device: str | None = None, progress: bool = False,
) -> Detector:  # fmt: skip
    """Return a detector with its weights; `mmsearch.detecting.load_detector` says more.

    Raises:
        UnknownName: no detector has that name.
        ModelUnavailable: the weights are not to be had, damaged, or another model's; no such
            device.
    """
    if name not in DETECTORS:
        raise UnknownName("detector", name, DETECTORS)
    where = pick_device(device)
    if where.type == "cpu":
        torch.set_num_threads(threads or usable_cores())
    file = weights or published_weights(name, progress=progress)
    model = _with_weights(name, read_state_dict(file), file)
    if name == "fasterrcnn_resnet50_fpn" and is_published(file, name):
        # They were trained when torchvision's batch norm had no epsilon yet.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0
    known = remembered([file], lambda: hash_files([file], root=file.parent), salt="detector")
    return Detector(model, f"{name}/{known}", boxes=boxes, device=where)


def _with_weights(name: str, state: dict[str, torch.Tensor], file: Path) -> Any:
    """Return torchvision's model with these weights, all of them and no others."""
    last = state.get("roi_heads.box_predictor.cls_score.weight")
    if last is None or last.ndim != 2:
        raise ModelUnavailable(f"{file} holds no {name}: it has no roi_heads.box_predictor")
    if not all(one.isfinite().all() for one in state.values() if one.is_floating_point()):
        raise ModelUnavailable(f"{file} holds NaN or infinity among its weights")
    # None for the backbone, too: torchvision would fetch one, to be overwritten here.
    model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=len(last))
    try:
        missing, unknown = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # about sizes, a line for each
        raise ModelUnavailable(f"{file} holds weights of other sizes than {name} has") from error
    # A counter of training steps, which batch norms that were frozen have not.
    lost = [key for key in missing if not key.endswith("num_batches_tracked")]
    if lost or unknown:
        raise ModelUnavailable(
            f"{file} holds no {name}: {len(lost)} of its weights are missing, {len(unknown)} are "
            f"another model's ({[*lost, *unknown][0]} ...)"
        )
    return model
