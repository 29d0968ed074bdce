"""The starter model in torch, from its own ONNX bundle: to be trained further, and written back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

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
from mmsearch.train.heads import Head, TwinHead
from mmsearch.train.onnx_weights import Weights, read_graph
from mmsearch.train.querybank import AskingHead, BankedHead
from mmsearch.train.starter_image import (
    LEVELS,
    PLAIN,
    QUARTERS,
    SMALLER,
    TOP_WIDTH,
    Branch,
    ImageTower,
    fix_padding,
    load_convolutions,
)

DROPOUT = 0.4  # of the heads, as in the starter's own recipe
SIGHTS = {sight.width: sight for sight in (PLAIN, LEVELS, QUARTERS, SMALLER)}
AnyHead = Head | TwinHead | BankedHead | AskingHead
_BERT = re.compile(r"(?:^|\.)((?:embeddings|encoder)\..+)$")


class StarterModel(nn.Module):
    """Both towers and their heads; `images` and `texts` give unit rows."""

    def __init__(self, image: ImageTower, bert: nn.Module, heads: tuple[AnyHead, AnyHead]) -> None:
        super().__init__()
        self.image, self.text = image, bert
        self.image_head, self.text_head = heads

    def images(self, pixels: Tensor) -> Tensor:
        """Return (n, dim) for (n, 3, S, S)."""
        out: Tensor = self.image_head(self.image(pixels))
        return out

    def lower(self, blocks: int) -> nn.Module:
        """Return the picture tower below its last `blocks` stages; with 0 all of it."""
        return self.image.lower(len(self.image.blocks) - blocks) if blocks else self.image

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
        """Return (n, dim) for input_ids and attention_mask, (n, length)."""
        out: Tensor = self.text_head(self.words(tokens))
        return out

    def words(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return (n, width): the mean of the text tower's last layer over each text's tokens."""
        hidden = self.hidden(tokens)
        keep = tokens["attention_mask"][:, :, None].to(hidden.dtype)
        return (hidden * keep).sum(1) / keep.sum(1)

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
        heads = _head(image, apart=True), _head(text, apart=False)
        tower = _tower(heads[0])
        # A graph may mix the branches, but not turn the order within one.
        ordered = sorted(convolutions, key=lambda conv: _place(conv[0]))
        load_convolutions(
            tower, [(torch.from_numpy(w), torch.from_numpy(b)) for _, w, b in ordered]
        )
        fix_padding(tower, torch.zeros(1, 3, bundle.image_size, bundle.image_size))
        model = StarterModel(tower, _bert(text), heads)
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
        model: with one head a tower, which sees the last map alone.
        pixels: batches of (n, 3, S, S), some hundred pictures, to standardise the levels by.
    """
    old, model.image.sight = model.image_head, LEVELS
    assert isinstance(old, Head)
    with torch.no_grad():
        rows = torch.cat([model.image(part)[:, TOP_WIDTH:] for part in pixels])
        mean, std = torch.cat([old.mean, rows.mean(0)]), torch.cat([old.std, rows.std(0)])
        hidden = old.mlp[0].out_features
        head = Head(mean, std, hidden=hidden, dim=old.dim, dropout=DROPOUT)
        wider = {"linear.weight", "mlp.0.weight"}
        head.load_state_dict(
            {
                name: F.pad(value, (0, LEVELS.width - TOP_WIDTH)) if name in wider else value
                for name, value in old.state_dict().items()
            }
            | {"mean": mean, "std": std}
        )
    model.image_head = head.eval()


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


def _place(name: str) -> int:
    """Return where a convolution's branch stands among the modules of a tower."""
    return 2 if ".companion." in name else int(".second." in name)


def _head(values: dict[str, Weights], *, apart: bool) -> AnyHead:
    own = {
        name.split("head.", 1)[1]: torch.from_numpy(np.array(value))
        for name, value in values.items()
        if "head." in name and "/" not in name
    }
    if "constant" not in own:
        return _plain(own, apart=apart)
    inner = {n.removeprefix("inner."): v for n, v in own.items() if n.startswith("inner.")}
    plain = _plain(inner, apart=apart)
    head = BankedHead(plain, own["bank"]) if "bank" in own else AskingHead(plain)
    for name, value in head.named_buffers(recurse=False):
        value.copy_(own[name])
    return head


def _plain(own: dict[str, Tensor], *, apart: bool) -> Head | TwinHead:
    return _twin(own, apart=apart) if "parts" in own else _single(own)


def _twin(own: dict[str, Tensor], *, apart: bool) -> TwinHead:
    first, second = (
        {name.removeprefix(half): value for name, value in own.items() if name.startswith(half)}
        for half in ("first.", "second.")
    )
    # The square of a row's second half is its share in a cosine.
    twin = TwinHead(
        _twin(first, apart=apart) if "parts" in first else _single(first),
        _single(second),
        share=float(own["parts"][-1]) ** 2,
        apart=apart,
    )
    if "basis" in own:
        twin.narrow(own["basis"])
    return twin


def _single(own: dict[str, Tensor]) -> Head:
    hidden, dim = own["mlp.0.weight"].shape[0], own["linear.weight"].shape[0]
    head = Head(own["mean"], own["std"], hidden=hidden, dim=dim, dropout=DROPOUT)
    head.load_state_dict({name: own[name] for name in head.state_dict()})
    return head


def _tower(head: AnyHead) -> ImageTower:
    """Return a tower with random weights that gives what the head sees."""
    if isinstance(head, BankedHead | AskingHead):
        assert isinstance(head.inner, Head | TwinHead)
        return _tower(head.inner)
    if isinstance(head, Head):
        return ImageTower(SIGHTS[head.width])
    tower = _tower(head.first)
    add_tower(tower, _tower(head.second))
    return tower


def add_tower(tower: ImageTower, added: ImageTower) -> None:
    """Let a tower give what another sees, too: by a second branch if they are of one size."""
    if added.sight.lite == tower.sight.lite:
        tower.second = Branch.of(added)
    else:
        tower.companion = added
