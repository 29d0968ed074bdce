"""The recipe of the starter model: `python -m mmsearch.train.starter --data DIR --out DIR`.

Two stages on Flickr8k's training split. First the heads alone, on features of frozen towers;
then heads, the last picture stage and the text tower's layers together, at a small rate. The
better of the two on the validation split is exported; the test split is only ever measured.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mmsearch.train.figures import Split, both_ways, measure, read_split, table
from mmsearch.train.heads import Average, Head, Temperature, info_nce, same_captions
from mmsearch.train.starter_towers import (
    TEXT_WIDTH,
    TOP_WIDTH,
    Features,
    ImageTop,
    TextTower,
    base_features,
    load_image_tower,
    load_tokenizer,
)

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice of the training. views: how the training pictures are cut, see `view_of`."""

    views: tuple[str, ...] = ("shortest", "crop1", "crop2")
    resize_mode: str = "squash"
    dim: int = 384
    hidden: int = 1024
    dropout: float = 0.4
    weight_decay: float = 0.1
    head_epochs: int = 20
    head_batch: int = 500
    head_rate: float = 1e-3
    tune_epochs: int = 6
    tune_batch: int = 200
    tune_head_rate: float = 5e-4
    tune_image_rate: float = 2e-4
    tune_text_rate: float = 7e-5
    average: float = 0.98
    seed: int = 1


class Model(nn.Module):
    """The trainable parts: the top of the picture tower, the text tower, a head for each."""

    def __init__(self, top: ImageTop, text: TextTower, heads: tuple[Head, Head]) -> None:
        super().__init__()
        self.top = top
        self.text = text
        self.image_head, self.text_head = heads
        self.temperature = Temperature()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Captions as token ids. ids and mask: (n, longest); group: equal for equal captions."""

    ids: Ids
    mask: Ids
    group: Ids

    def batch(self, rows: Ids) -> tuple[Tensor, Tensor]:
        """Return ids and mask of some captions, as short as their longest allows."""
        width = int(self.mask[rows].sum(1).max())
        return torch.from_numpy(self.ids[rows, :width]), torch.from_numpy(self.mask[rows, :width])


@dataclass(frozen=True, slots=True)
class Data:
    """A split made ready: its base features by view, and its captions, five a picture."""

    views: list[Features]
    tokens: Tokens
    split: Split


def tokens_of(split: Split) -> Tokens:
    """Return the captions of a split, in order, as token ids."""
    captions = [caption for own in split.captions for caption in own]
    rows = [row.ids for row in load_tokenizer().encode_batch(captions)]
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    known: dict[tuple[int, ...], int] = {}
    group = np.array([known.setdefault(tuple(row), len(known)) for row in rows], np.int64)
    return Tokens(ids, mask, group)


def as_maps(rows: Features, dtype: torch.dtype) -> Tensor:
    """Return cached rows (n, 9, 9, 208) as the (n, 208, 9, 9) that `ImageTop` takes."""
    return torch.from_numpy(np.array(rows)).to(dtype).permute(0, 3, 1, 2)


def image_features(top: ImageTop, maps: Features, dtype: torch.dtype) -> Tensor:
    """Return (n, 1280) for cached base features."""
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        parts = [maps[i : i + 64] for i in range(0, len(maps), 64)]
        return torch.cat([top(as_maps(part, dtype)).float() for part in parts])


def text_features(text: TextTower, tokens: Tokens, dtype: torch.dtype) -> Tensor:
    """Return (m, 384) for tokenized captions, worked out shortest first: less padding."""
    order = np.argsort(tokens.mask.sum(1), kind="stable")
    out = torch.empty(len(order), TEXT_WIDTH)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        for i in range(0, len(order), 64):
            rows = order[i : i + 64]
            out[torch.from_numpy(rows)] = text(*tokens.batch(rows)).float()
    return out


def new_head(features: Tensor, recipe: Recipe) -> Head:
    """Return an untrained head that standardises by these training features."""
    return Head(
        features.mean(0),
        features.std(0),
        hidden=recipe.hidden,
        dim=recipe.dim,
        dropout=recipe.dropout,
    )


def batches(data: Data, size: int, rng: np.random.Generator) -> Iterator[tuple[Ids, Ids, Ids]]:
    """Yield (pictures, views, captions) of one epoch: a random view and caption of each."""
    n = len(data.split.paths)
    order = rng.permutation(n)
    for start in range(0, n - size + 1, size):
        rows = order[start : start + size]
        views = rng.integers(len(data.views), size=size)
        yield rows, views, rows * 5 + rng.integers(5, size=size)


def optimise(
    model: Model,
    groups: list[dict[str, Any]],
    data: Data,
    pair: Callable[[Ids, Ids, Ids], tuple[Tensor, Tensor]],
    *,
    epochs: int,
    size: int,
    recipe: Recipe,
) -> None:
    """Train the parameters in `groups`, and leave their moving average in `model`.

    pair: from (pictures, views, captions) to two stacks of unit rows.
    """
    rng = np.random.default_rng(recipe.seed)
    steps = epochs * (len(data.split.paths) // size)
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))
    average = Average([model], recipe.average)
    with tqdm(total=steps, file=sys.stderr) as bar:
        for _ in range(epochs):
            for rows, views, captions in batches(data, size, rng):
                images, texts = pair(rows, views, captions)
                same = same_captions(torch.from_numpy(data.tokens.group[captions]))
                loss = info_nce(images, texts, scale=model.temperature(), same=same)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                average.update()
                bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
                bar.update()
    average.swap()


def rate_at(step: int, steps: int) -> float:
    """Return the share of the learning rate: a tenth of the steps up, then half a cosine down."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def fit_heads(model: Model, data: Data, images: Tensor, texts: Tensor, recipe: Recipe) -> None:
    """Train the heads on frozen features; images (views, n, 1280), texts (5 n, 384)."""
    model.requires_grad_(False)
    trained: list[nn.Module] = [model.image_head, model.text_head, model.temperature]
    for part in trained:
        part.requires_grad_(True).train()

    def pair(rows: Ids, views: Ids, captions: Ids) -> tuple[Tensor, Tensor]:
        return model.image_head(images[views, rows]), model.text_head(texts[captions])

    groups = [{"params": [p for m in trained for p in m.parameters()], "lr": recipe.head_rate}]
    optimise(
        model, groups, data, pair, epochs=recipe.head_epochs, size=recipe.head_batch, recipe=recipe
    )
    model.eval()


def tune(model: Model, data: Data, recipe: Recipe, dtype: torch.dtype) -> None:
    """Train heads, picture top and text layers together.

    Word embeddings stay: captions hold 8,000 of the 30,000 words, and a moved half of a
    vocabulary fits the other half no more. Batch norm keeps its ImageNet statistics.
    """
    model.requires_grad_(True)
    model.text.bert.embeddings.requires_grad_(False)
    for part in (model.image_head, model.text_head, model.text):
        part.train()

    def pair(rows: Ids, views: Ids, captions: Ids) -> tuple[Tensor, Tensor]:
        maps = np.stack([data.views[v][r] for v, r in zip(views, rows, strict=True)])
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            image = model.top(as_maps(maps, dtype)).float()
            text = model.text(*data.tokens.batch(captions)).float()
        return model.image_head(image), model.text_head(text)

    heads: list[nn.Module] = [model.image_head, model.text_head, model.temperature]
    groups = [
        {"params": [p for m in heads for p in m.parameters()], "lr": recipe.tune_head_rate},
        {"params": list(model.top.parameters()), "lr": recipe.tune_image_rate},
        {"params": list(model.text.bert.encoder.parameters()), "lr": recipe.tune_text_rate},
    ]
    optimise(
        model, groups, data, pair, epochs=recipe.tune_epochs, size=recipe.tune_batch, recipe=recipe
    )
    model.eval()


def validate(model: Model, data: Data, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """Return the figures of the model on a split, both ways."""
    with torch.no_grad():
        images = model.image_head(image_features(model.top, data.views[0], dtype)).numpy()
        texts = model.text_head(text_features(model.text, data.tokens, dtype)).numpy()
    return both_ways(images, texts, np.repeat(np.arange(len(images)), 5))


def prepare(
    args: argparse.Namespace, recipe: Recipe, dtype: torch.dtype
) -> tuple[Model, Data, Data]:
    """Return a model with trained heads on frozen towers, and both splits made ready."""
    base, top = load_image_tower()
    text = TextTower().eval()
    made = []
    for name, views in (("train", recipe.views), ("val", (recipe.resize_mode,))):
        split = read_split(args.data, name)
        maps = [base_features(split, v, base=base, cache=args.cache, dtype=dtype) for v in views]
        made.append(Data(maps, tokens_of(split), split))
    train, val = made
    key = f"{'-'.join(recipe.views)}-{str(dtype)[6:]}"
    pooled = args.cache / f"pooled-{key}.pt"
    if not pooled.exists():
        images = torch.stack([image_features(top, maps, dtype) for maps in train.views])
        torch.save((images, text_features(text, train.tokens, dtype)), pooled)
    images, texts = torch.load(pooled, weights_only=True)
    heads = new_head(images.view(-1, TOP_WIDTH), recipe), new_head(texts, recipe)
    model = Model(top, text, heads).to(memory_format=torch.channels_last)
    fit_heads(model, train, images, texts, recipe)
    return model, train, val


def trained(args: argparse.Namespace, recipe: Recipe, dtype: torch.dtype) -> Model:
    """Return the trained model; from the cache where a run of this very recipe finished."""
    key = hashlib.blake2b(f"{recipe}{dtype}".encode(), digest_size=6).hexdigest()
    path = args.cache / f"trained-{key}.pt"
    if path.exists():
        print(f"weights of an earlier run: {path}", file=sys.stderr)
        heads = [new_head(torch.zeros(2, width), recipe) for width in (TOP_WIDTH, TEXT_WIDTH)]
        model = Model(load_image_tower()[1], TextTower(), (heads[0], heads[1]))
        model.eval()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model
    model, train, val = prepare(args, recipe, dtype)
    frozen, before = copy.deepcopy(model), validate(model, val, dtype)
    print(f"heads alone, val: {before}", file=sys.stderr)
    tune(model, train, recipe, dtype)
    after = validate(model, val, dtype)
    print(f"tuned, val: {after}", file=sys.stderr)
    if after["text_to_image"]["R@10"] < before["text_to_image"]["R@10"]:
        model = frozen
    torch.save(model.state_dict(), path)
    return model


def main(argv: list[str] | None = None) -> None:
    """Train, export and measure; the figures go to stdout, progress to stderr."""
    parser = argparse.ArgumentParser(prog="mmsearch.train.starter", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--out", type=Path, required=True, help="folder for the ONNX bundle")
    parser.add_argument("--cache", type=Path, default=Path("starter-cache"))
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    recipe = Recipe()
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(args.threads)
    dtype: torch.dtype = getattr(torch, args.dtype)

    model = trained(args, recipe, dtype)
    args.out.mkdir(parents=True, exist_ok=True)

    from mmsearch.encoders import load_encoder
    from mmsearch.train.export_starter import export

    export(model, args.out, resize_mode=recipe.resize_mode)
    for name in ("val", "test"):
        result = measure(load_encoder(f"onnx:{args.out}"), read_split(args.data, name))
        print(f"{name}: {result['pictures']} pictures, {result['captions']} captions")
        print(table(result))


if __name__ == "__main__":
    main()
