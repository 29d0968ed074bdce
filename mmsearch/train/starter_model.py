"""The starter model in torch, from its own ONNX bundle: to be trained further, and written back.

Batch norms come folded into their convolutions, as inference has them: their statistics stay
those of the pretraining for good, which is what training would have kept them at anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.encoders.bundle import Bundle, read_bundle, read_json
from mmsearch.encoders.tokens import Tokens
from mmsearch.encoders.torch_backend import DualModel
from mmsearch.encoders.weights import hash_tensors
from mmsearch.errors import ModelUnavailable
from mmsearch.preprocess import Preprocess
from mmsearch.train.heads import Head
from mmsearch.train.onnx_weights import Weights, read_graph

DROPOUT = 0.4  # of the heads, as in the starter's own recipe
ARCHITECTURE = "tf_efficientnet_lite2"
TOP_WIDTH = 1280
_BERT = re.compile(r"(?:^|\.)((?:embeddings|encoder)\..+)$")
LEVELS = (4, 5)  # stages (from 0) whose maps the head may see beside the last one
LEVEL_WIDTH = 2 * (120 + 208)  # mean and deviation of each of their channels


class ImageTower(nn.Module):
    """EfficientNet-Lite2 without its batch norms: (n, 3, S, S) -> (n, width).

    width is 1280, the mean over the last feature map; with `levels` 1936: the mean and the
    standard deviation over the maps of LEVELS follow. ImageNet's classes are alike in any colour,
    so the last map knows little of colour and texture, which captions speak of; these do.
    """

    def __init__(self, *, levels: bool) -> None:
        super().__init__()
        import timm

        whole: Any = timm.create_model(ARCHITECTURE, pretrained=False)
        _fold(whole)
        self.levels = levels
        self.stem = nn.Sequential(whole.conv_stem, whole.bn1)
        self.blocks = whole.blocks
        self.top = nn.Sequential(whole.conv_head, whole.bn2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return one vector a picture."""
        return self.above(0, self.stem(pixels))

    def above(self, first: int, maps: Tensor) -> Tensor:
        """Return one vector a picture from what the stage before `first` gave.

        Raises:
            ValueError: the stages below `first` hold one of LEVELS, but the last of them.
        """
        seen = []
        if self.levels and first - 1 in LEVELS:
            seen.append(_moments(maps))
        for i in range(first, len(self.blocks)):
            maps = self.blocks[i](maps)
            if self.levels and i in LEVELS:
                seen.append(_moments(maps))
        if self.levels and len(seen) < len(LEVELS):
            raise ValueError(f"stage {first} is above one whose map the head sees")
        return torch.cat([self.top(maps).mean((2, 3)), *seen], 1)


class StarterModel(nn.Module):
    """Both towers and their heads; `images` and `texts` give unit rows."""

    def __init__(self, image: ImageTower, bert: nn.Module, heads: tuple[Head, Head]) -> None:
        super().__init__()
        self.image, self.text = image, bert
        self.image_head, self.text_head = heads

    def images(self, pixels: Tensor) -> Tensor:
        """Return (n, dim) for (n, 3, S, S)."""
        out: Tensor = self.image_head(self.image(pixels))
        return out

    def lower(self, blocks: int) -> nn.Module:
        """Return the picture tower below its last `blocks` stages; with 0 all of it."""
        stages = list(self.image.blocks)
        if not blocks:
            return self.image
        return nn.Sequential(self.image.stem, *stages[: len(stages) - blocks])

    def upper(self, maps: Tensor, blocks: int) -> Tensor:
        """Return (n, dim) for what `lower` gives."""
        maps = maps.float()
        if blocks:
            if torch.is_autocast_enabled(maps.device.type):
                # bfloat16 convolutions are fast in this order, float32 ones are not (measured).
                maps = maps.contiguous(memory_format=torch.channels_last)
            maps = self.image.above(len(self.image.blocks) - blocks, maps)
        out: Tensor = self.image_head(maps)
        return out

    def texts(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return (n, dim) for input_ids and attention_mask, (n, length): mean pooling."""
        hidden = self.hidden(tokens)
        keep = tokens["attention_mask"][:, :, None].to(hidden.dtype)
        out: Tensor = self.text_head((hidden * keep).sum(1) / keep.sum(1))
        return out

    def hidden(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return (n, length, width): the text tower's last layer."""
        out: Tensor = self.text(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )[0]
        return out


def load_starter(folder: Path) -> tuple[DualModel, Bundle]:
    """Return the model of a bundle that was made by this module or by the starter's recipe.

    Raises:
        ModelUnavailable: the bundle is missing, or of another architecture.
        ImportError: timm, transformers or onnx is not installed.
    """
    bundle = read_bundle(folder)
    image, convolutions = read_graph(bundle.visual)
    text, _ = read_graph(bundle.textual)
    try:
        head = _head(image)
        tower = ImageTower(levels=len(head.mean) > TOP_WIDTH)
        _load_convolutions(tower, convolutions)
        fix_padding(tower, torch.zeros(1, 3, bundle.image_size, bundle.image_size))
        model = StarterModel(tower, _bert(text), (head, _head(text)))
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelUnavailable(
            f"{folder} does not hold the starter's architecture: {error!r}"
        ) from error
    model.eval()
    tokens = Tokens(bundle, bundle.context_length)

    def tokenize(texts: list[str]) -> dict[str, Tensor]:
        ids, mask = tokens(texts, whole=False)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    config = read_json(folder / "visual" / "preprocess_cfg.json")
    return DualModel(
        name=f"{bundle.name}/{hash_tensors(model.state_dict())}",
        module=model,
        images=model.images,
        texts=model.texts,
        tokenize=tokenize,
        preprocess=Preprocess.from_open_clip({"size": bundle.image_size, **config}),
        image_size=bundle.image_size,
    ), bundle


def grow(model: StarterModel, pixels: Iterable[Tensor]) -> None:
    """Let the picture head see LEVELS too. The model gives what it gave: the new weights are 0.

    Args:
        model: without levels.
        pixels: batches of (n, 3, S, S), some hundred pictures, to standardise the levels by.
    """
    old, model.image.levels = model.image_head, True
    with torch.no_grad():
        rows = torch.cat([model.image(part)[:, TOP_WIDTH:] for part in pixels])
        mean, std = torch.cat([old.mean, rows.mean(0)]), torch.cat([old.std, rows.std(0)])
        hidden, dim = old.mlp[0].out_features, old.linear.out_features
        head = Head(mean, std, hidden=hidden, dim=dim, dropout=DROPOUT)
        wider = {"linear.weight", "mlp.0.weight"}
        head.load_state_dict(
            {
                name: F.pad(value, (0, LEVEL_WIDTH)) if name in wider else value
                for name, value in old.state_dict().items()
            }
            | {"mean": mean, "std": std}
        )
    model.image_head = head.eval()


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
    maps = maps.float()
    mean = maps.mean((2, 3))
    spread = (maps - mean[:, :, None, None]).square().mean((2, 3))
    return torch.cat([mean, (spread + 1e-6).sqrt()], 1)


def _fold(module: nn.Module) -> None:
    """Give each convolution a bias, and leave of each batch norm only its activation."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.bias is None:
                child.bias = nn.Parameter(torch.zeros(child.out_channels))
            elif isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, getattr(child, "act", nn.Identity()))


def _load_convolutions(tower: nn.Module, values: list[tuple[Weights, Weights]]) -> None:
    convolutions = [m for m in tower.modules() if isinstance(m, nn.Conv2d)]
    for module, (weight, bias) in zip(convolutions, values, strict=True):
        if tuple(module.weight.shape) != weight.shape:
            raise ValueError(f"a convolution is {weight.shape}, not {tuple(module.weight.shape)}")
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(weight))
            assert module.bias is not None
            module.bias.copy_(torch.from_numpy(bias))


def _bert(values: dict[str, Weights]) -> nn.Module:
    from transformers import BertConfig, BertModel

    # "text.bert.encoder..." as the recipe names it, "module.text.encoder..." as training does.
    found = ((_BERT.search(name), value) for name, value in values.items() if "/" not in name)
    stored = {at.group(1): torch.from_numpy(value) for at, value in found if at}
    words = stored["embeddings.word_embeddings.weight"]
    layers = {n.split(".")[2] for n in stored if n.startswith("encoder.layer.")}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=words.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=12,
        intermediate_size=len(stored["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(stored["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(stored["embeddings.token_type_embeddings.weight"]),
        attn_implementation="eager",  # the plain products that every ONNX exporter understands
    )
    model: nn.Module = BertModel(config, add_pooling_layer=False)
    wanted = dict(model.named_parameters())
    model.load_state_dict({name: stored[name] for name in wanted}, strict=False)
    return model


def _head(values: dict[str, Weights]) -> Head:
    own = {
        name.split("head.", 1)[1]: torch.from_numpy(np.array(value))
        for name, value in values.items()
        if "head." in name and "/" not in name
    }
    hidden, dim = own["mlp.0.weight"].shape[0], own["linear.weight"].shape[0]
    head = Head(own["mean"], own["std"], hidden=hidden, dim=dim, dropout=DROPOUT)
    head.load_state_dict({name: own[name] for name in head.state_dict()})
    return head
