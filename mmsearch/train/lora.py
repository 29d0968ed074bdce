"""Low-rank updates of frozen weights: LoRA, arXiv:2106.09685.

As a parametrization of the weight itself, W + alpha / r * B A, rather than as peft's wrapper of a
layer: so it works for every matrix, open_clip's fused attention too, names of layers stay, and
merging is exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmsearch.errors import BadSource
from mmsearch.train.layers import places

ALPHA = 2  # times the rank: the update's factor, as peft's examples have it


class LowRank(nn.Module):
    """The update of one (out, in) matrix; zero at first, as B is."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, width = weight.shape
        self.a = nn.Parameter(torch.empty(rank, width, device=weight.device))
        self.b = nn.Parameter(torch.zeros(out, rank, device=weight.device))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with its update."""
        out: Tensor = weight + ALPHA * (self.b @ self.a)
        return out


def add_lora(module: nn.Module, rank: int) -> int:
    """Put updates on the trained matrices of both towers' blocks, and freeze all else there.

    Call it after `freeze`: what that left trainable decides where the updates go. Heads stay
    trained in full.

    Returns:
        How many matrices have one.

    Raises:
        BadSource: there is no matrix to put one on.
    """
    found = places(name for name, _ in module.named_parameters())
    chosen = []
    for name, parameter in module.named_parameters():
        place = found[name]
        if place.head or not parameter.requires_grad:
            continue
        parameter.requires_grad_(False)
        owner, _, leaf = name.rpartition(".")
        if parameter.ndim == 2 and place.depth > 0 and "embed" not in name:
            chosen.append((module.get_submodule(owner), leaf, parameter))
    for part, leaf, parameter in chosen:
        parametrize.register_parametrization(part, leaf, LowRank(parameter, rank))
    if not chosen:
        raise BadSource("lora: no block of this model is trained that has matrices to update")
    return len(chosen)


def merge_lora(module: nn.Module) -> None:
    """Write the updates into the weights and take them off; names are as before again."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            for leaf in list(part.parametrizations):
                parametrize.remove_parametrizations(part, leaf, leave_parametrized=True)
