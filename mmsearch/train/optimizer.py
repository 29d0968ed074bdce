"""Which parameters move, how fast, and when."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from mmsearch.train.config import TrainConfig
from mmsearch.train.layers import deepest, is_decayed, places, trained


def freeze(module: nn.Module, config: TrainConfig) -> None:
    """Set `requires_grad` of every parameter of a dual encoder, as the config says."""
    found = places(name for name, _ in module.named_parameters())
    depth = {part: deepest(found, part) for part in ("image", "text", "scale")}
    for name, parameter in module.named_parameters():
        place = found[name]
        parameter.requires_grad_(
            parameter.is_floating_point()
            and trained(place, deepest=depth[place.part], blocks=config.blocks(place.part))
        )


def groups(
    module: nn.Module, config: TrainConfig, extra: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: by tower, depth, head or not, decayed or not.

    Layers below the top of a tower get lr * layer_decay ** (steps below it), as in BEiT,
    arXiv:2106.08254 appendix. `name` in a group tells what it is.

    Args:
        module: the dual encoder, frozen where it is to be.
        config: rates and decays.
        extra: what the loss learns: at the rate of the heads, scale and bias without decay.
    """
    found = places(name for name, _ in module.named_parameters())
    made: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        place = found[name]
        rate = config.rate("head" if place.head else place.part)
        if not place.head:
            rate *= config.layer_decay ** (deepest(found, place.part) - place.depth)
        part = f"{place.part} head" if place.head else place.part
        key = (part, rate, is_decayed(name, parameter))
        made.setdefault(key, []).append(parameter)
    for name, parameter in extra.named_parameters() if extra is not None else ():
        if parameter.requires_grad:
            key = ("loss", config.rate("head"), is_decayed(name, parameter))
            made.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate,
            "rate": rate,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "name": part,
        }
        for (part, rate, decayed), parameters in made.items()
    ]


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return AdamW with the betas of CLIP's transformers, arXiv:2103.00020 table 19."""
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Return the share of the full rate at a step (from 0): linear up, half a cosine down.

    Args:
        step: 0 to steps - 1; its share is above 0, so no step is lost.
        steps: of the whole run.
        warmup: share of the steps that go up.
    """
    up = math.ceil(steps * warmup)
    if step < up:
        return (step + 1) / up
    return 0.5 * (1 + math.cos(math.pi * (step - up) / max(1, steps - up)))


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Give each group its share of its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * share
