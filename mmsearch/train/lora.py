"""Low-rank updates of frozen weights: LoRA, arXiv:2106.09685, by peft.

peft's wrapper of `nn.MultiheadAttention`, which open_clip's towers use, is left aside: each pass
adds the update to the frozen weight and subtracts it again, and the rounding of the two stays in
the weight, so that a resumed run would not end like an undisturbed one. The fused projection of
query, key and value is therefore updated as a parameter of its own. The output projection of such
a layer has no update: the layer reads its weight and never calls it.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from mmsearch.errors import BadSource, MissingExtra
from mmsearch.train.layers import places

if TYPE_CHECKING:
    from peft import LoraModel

ALPHA = 2  # times the rank: the update's factor, as peft's examples have it
FUSED = "in_proj_weight"


def add_lora(module: nn.Module, rank: int) -> list[LoraModel]:
    """Put updates on the trained layers of both towers' blocks, and freeze all else there.

    Linear layers and ungrouped convolutions have one. Call it after `freeze`: what that left
    trainable decides where the updates go. Heads stay trained in full.

    Returns:
        What `merge_lora` takes; the module's own layers are wrapped in place.

    Raises:
        BadSource: there is no layer to put one on.
        MissingExtra: peft is not installed.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ModuleNotFoundError as error:
        raise MissingExtra(f"lora ({error.name})", "train") from error
    heads, layers, fused = _targets(module)
    if not layers and not fused:
        raise BadSource("lora: no block of this model is trained that has layers to update")
    adapters = []
    # A tower at a time: peft takes a parameter of the same path further down for the same.
    for name, tower in module.named_children():
        inside = [n.removeprefix(f"{name}.") for n in layers if n.startswith(f"{name}.")]
        beside = [n.removeprefix(f"{name}.") for n in fused if n.startswith(f"{name}.")]
        if not inside and not beside:
            continue
        config = LoraConfig(
            r=rank,
            lora_alpha=ALPHA * rank,
            # As a pattern of whole names: names in a list match the ends of longer ones, too.
            target_modules="|".join(map(re.escape, inside)) if inside else [],
            target_parameters=beside or None,
        )
        with warnings.catch_warnings():
            # GPT-2's layers hold their weights transposed; peft sees it, and says so each time.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
            adapters.append(LoraModel(tower, config, "default"))
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in heads or ".lora_" in name)
    return adapters


def merge_lora(adapters: list[LoraModel]) -> None:
    """Write the updates into the weights and take them off; names are as before again."""
    for adapter in adapters:
        adapter.merge_and_unload()


def _targets(module: nn.Module) -> tuple[set[str], list[str], list[str]]:
    """Return the names of trained head parameters, of layers, and of fused projections."""
    found = places(name for name, _ in module.named_parameters())
    heads: set[str] = set()
    layers, fused = [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        owner, _, leaf = name.rpartition(".")
        if found[name].head:
            heads.add(name)
        elif found[name].depth > 0 and leaf == FUSED:
            fused.append(name)
        elif found[name].depth > 0 and leaf == "weight" and _wrapped(module.get_submodule(owner)):
            layers.append(owner)
    return heads, layers, fused


def _wrapped(layer: nn.Module) -> bool:
    """Return whether peft wraps a layer and merges it again; it cannot merge grouped convolutions.

    The output projection of `nn.MultiheadAttention` is of a class of its own, and not wrapped.
    """
    if isinstance(layer, nn.Conv2d):
        return bool(layer.groups == 1)
    linear = isinstance(layer, nn.Linear) and not isinstance(layer, NonDynamicallyQuantizableLinear)
    return linear or type(layer).__name__ == "Conv1D"  # the latter is GPT-2's
