"""Pictures of two colours with captions that name them, and models of a few thousand weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmsearch.encoders.torch_backend import DualModel
from mmsearch.preprocess import Preprocess
from mmsearch.train.pairs import Pairs, read_pairs
from mmsearch.train.trainable import Trainable

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
    "orange": (240, 140, 20),
    "purple": (130, 40, 160),
}
WORDS = ["[PAD]", "[MASK]", *COLOURS, "above", "below", "a", "floor"]
SIZE = 8


class Toy(nn.Module):
    """Towers of one hidden layer; names as a model's own, so that the rules by name apply."""

    def __init__(self, dropout: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        self.visual = nn.ModuleDict(
            {
                "layers": nn.ModuleList([nn.Linear(12, 24), nn.Linear(24, 24)]),
                "norm": nn.LayerNorm(24),
            }
        )
        self.embeddings = nn.Embedding(len(WORDS), 24)
        self.layers = nn.ModuleList([nn.Linear(24, 24), nn.Linear(24, 24)])
        self.visual_projection = nn.Linear(24, 16, bias=False)
        self.text_projection = nn.Linear(24, 16, bias=False)
        self.drop = nn.Dropout(dropout)

    def images(self, pixels: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1)
        for layer in self.visual["layers"]:
            x = torch.tanh(layer(x))
        return self.visual_projection(self.drop(self.visual["norm"](x)))

    def hidden(self, tokens: dict[str, Tensor]) -> Tensor:
        x = self.embeddings(tokens["input_ids"])
        x = x + x.roll(1, 1)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x

    def texts(self, tokens: dict[str, Tensor]) -> Tensor:
        keep = tokens["attention_mask"][:, :, None].float()
        x = (self.hidden(tokens) * keep).sum(1) / keep.sum(1)
        return self.text_projection(self.drop(x))


def tokenize(texts: list[str]) -> dict[str, Tensor]:
    ids = torch.zeros(len(texts), 6, dtype=torch.int64)
    for row, text in enumerate(texts):
        for column, word in enumerate(text.split()[:6]):
            ids[row, column] = WORDS.index(word)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def toy(dropout: float = 0.0, seed: int = 0) -> Trainable:
    module = Toy(dropout, seed)
    preprocess = Preprocess(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    dual = DualModel("toy/0", module, module.images, module.texts, tokenize, preprocess, SIZE)
    return Trainable("toy", "toy", dual, lambda out: torch.save(module.state_dict(), out / "w.pt"))


def blobs(folder: Path, n: int = 64, every: int = 4, captions: int = 2) -> Path:
    """Write n pictures of 24 x 24; each `every`-th is of split val, the rest of train."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, names, images = np.random.default_rng(0), list(COLOURS), []
    for i in range(n):
        top, bottom = rng.choice(len(names), 2, replace=False)
        pixels = np.zeros((24, 24, 3), np.int64)
        pixels[:12], pixels[12:] = COLOURS[names[top]], COLOURS[names[bottom]]
        noisy = np.clip(pixels + rng.integers(-15, 15, pixels.shape), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i:03}.png")
        texts = [
            f"{names[top]} above {names[bottom]}",
            f"a {names[bottom]} floor below {names[top]}",
        ]
        images.append(
            {
                "filename": f"{i:03}.png",
                "split": "train" if i % every else "val",
                "sentences": [{"raw": text} for text in texts[:captions]],
            }
        )
    path = folder / "dataset.json"
    path.write_text(json.dumps({"images": images}))
    return path


def blob_pairs(folder: Path, split: str = "train", **how: int) -> Pairs:
    return read_pairs(str(blobs(folder, **how)), split=split)


def blob_table(folder: Path, n: int = 120) -> Path:
    """Write n pictures into `folder`, and beside it pairs.csv, a third each of val and test."""
    images = json.loads(blobs(folder, n).read_text())["images"]
    (folder / "dataset.json").unlink()
    path = folder.parent / "pairs.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "split"])
        for i, image in enumerate(images):
            for sentence in image["sentences"]:
                split = ("train", "val", "test")[i % 3]
                table.writerow([f"{folder.name}/{image['filename']}", sentence["raw"], split])
    return path


def tiny_clip(folder: Path) -> str:
    """Write a CLIP of transformers with random weights that knows the words of the captions."""
    from tests.mmsearch.encoders.hf_models import MARKS, clip

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    clip(folder, [*MARKS, *WORDS[2:]])
    return f"hf:{folder}"
