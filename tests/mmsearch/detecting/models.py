"""A small detector of torchvision with random weights, which sees something everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torchvision.models import detection
from torchvision.transforms.functional import to_tensor

from mmsearch.images import open_picture
from tests.conftest import shared_data

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
WIDTH = 1024  # of a region's features


def network(name: str = SMALL, classes: int = 7) -> Any:
    """Return a network that tells places apart: its batch norms have seen photographs, without
    which fresh weights make the same of everything."""
    torch.manual_seed(0)
    made = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=classes)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    seen = [to_tensor(open_picture(path).image) for path in photographs(2)]
    with torch.no_grad():
        made.backbone(made.transform(seen)[0].tensors)
    return made.eval()


def saved(path: Path, name: str = SMALL) -> Path:
    """Write the network's state dict, as half-precision numbers."""
    state = network(name).state_dict()
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)
    return path


def photographs(n: int = 4) -> list[Path]:
    return sorted((shared_data("flickr8k") / "test").glob("*.jpg"))[:n]
