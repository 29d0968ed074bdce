"""Where a parameter stands: in which tower, how deep, in the tower or in its head.

Told by its name, as open_clip, timm and transformers give them. So one rule serves for freezing,
for rates by layer, and for the last blocks alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Part = Literal["image", "text", "scale"]

_BLOCK = re.compile(r"(?:^|\.)(?:resblocks|layers?|blocks?|h|stages?|layer(?=[1-9]))\.?(\d+)\.")
_STEM = re.compile(
    r"embed|conv1|conv_stem|bn1\b|patch|stem|positional|class_token|cls_token|ln_pre|pre_layrnorm"
    r"|\bwte\b|\bwpe\b|\bshared\b|relative|attn_mask",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"(?:^|\.)(?:visual|vision_model|image|image_head|visual_projection)(?:\.|$)")
_HEAD = re.compile(
    r"(?:^|\.)(?:visual_projection|text_projection|image_head|text_head|vision_model\.head"
    r"|visual\.proj|visual\.head|visual\.attn_pool|text\.proj|text_model\.head)(?:\.|$)"
)
_SCALE = re.compile(r"^logit_(?:scale|bias)$")


@dataclass(frozen=True, slots=True)
class Place:
    """depth: 0 for embeddings and stem, 1.. for the blocks, one more for what follows them."""

    part: Part
    depth: int
    head: bool


def places(names: Iterable[str]) -> dict[str, Place]:
    """Return where each parameter of a dual encoder stands."""
    found: dict[str, Place] = {}
    after: list[str] = []
    deepest = {"image": 0, "text": 0, "scale": 0}
    for name in names:
        part: Part = "image" if _IMAGE.search(name) else "text"
        part = "scale" if _SCALE.search(name) else part
        head = bool(_HEAD.search(name))
        block = _BLOCK.search(name)
        depth = int(block.group(1)) + 1 if block and not head else 0
        deepest[part] = max(deepest[part], depth)
        found[name] = Place(part, depth, head)
        if head or not (block or _STEM.search(name)):
            after.append(name)
    for name in after:
        place = found[name]
        found[name] = Place(place.part, deepest[place.part] + 1, place.head)
    return found


def trained(place: Place, *, deepest: int, blocks: int | None) -> bool:
    """Return whether a parameter is trained when only the last `blocks` of its tower are.

    Heads always are; 0 blocks freeze the tower, its last norm too.
    """
    if place.part == "scale":
        return False  # the loss has its own, learnt one
    if place.head or blocks is None:
        return True
    return blocks > 0 and place.depth > deepest - 1 - blocks


def deepest(found: Mapping[str, Place], part: str) -> int:
    """Return the greatest depth in a part: that of what follows its last block."""
    return max((p.depth for p in found.values() if p.part == part), default=0)


def is_decayed(name: str, parameter: Any) -> bool:
    """Return whether weight decay acts on it: matrices and kernels, not biases, norms, gains."""
    return bool(parameter.ndim >= 2) and "bias" not in name and "norm" not in name.lower()


def train_mode(module: nn.Module) -> None:
    """Set training mode, but for batch norm, which keeps the statistics of its pretraining.

    Statistics of small batches of one domain would replace those of the large training set;
    and with gradient caching or several processes they would depend on how a batch is cut.
    """
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.eval()


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set the rate of the heads' dropout layers; of all, where the heads have none."""
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Dropout)}
    heads = {n: m for n, m in layers.items() if "head" in n.partition(".")[0]}
    for layer in (heads or layers).values():
        layer.p = rate
