"""The three fusions of the `fusion` re-ranker: what is worked out for each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mmsearch.errors import BadSource
from mmsearch.train.fusion_layers import CoAttention, Layer, Pool, grid_mean, zero_linear

if TYPE_CHECKING:
    from mmsearch.train.fusion_model import Encoded

JOINT_WINDOW, CROSS_WINDOW = 2, 3  # places each way that the picture stream of a pair takes as one


class Sizes(NamedTuple):
    """What the fusions are made of; side: places of a picture each way; dim: of
    pooled vectors."""

    width: int
    heads: int
    layers: int
    dropout: float
    side: int
    dim: int

    @property
    def layer(self) -> tuple[int, int, float]:
        """The arguments of one layer."""
        return self.width, self.heads, self.dropout


class Concat(nn.Module):
    """Pooled vectors side by side, with their product and difference, through a perceptron."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.head = _head(4 * sizes.dim, sizes)

    def forward(self, texts: Encoded, pictures: Encoded) -> tuple[Tensor, None]:
        """Return (t, p), and no attention."""
        t, p = (
            texts.pooled.shape[0],
            pictures.pooled.shape[0],
        )  # len() would be a constant of the export
        a = texts.pooled[:, None].expand(-1, p, -1)
        b = pictures.pooled[None].expand(t, -1, -1)
        # Of unit rows the entries are small: brought to about 1.
        root = a.shape[-1] ** 0.5
        made = torch.cat([a * root, b * root, a * b * root * root, (a - b).abs() * root], -1)
        return self.head(made).squeeze(-1), None

    def words(self, texts: Encoded, pictures: Encoded) -> Tensor:
        """Raise BadSource."""
        del texts, pictures
        raise BadSource("concat fuses whole texts, not words: masked words need cross or joint")


class Joint(nn.Module):
    """One sequence of words and of windows of places, through one transformer."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.side, width = sizes.side, sizes.width
        self.kinds = nn.Parameter(torch.randn(2, width) * 0.02)
        self.layers = nn.ModuleList(Layer(*sizes.layer) for _ in range(sizes.layers))
        self.word_pool, self.place_pool = Pool(width), Pool(width)
        self.head = _head(2 * width, sizes)

    def forward(self, texts: Encoded, pictures: Encoded) -> tuple[Tensor, None]:
        """Return (t, p), and no attention of its own."""
        t, p = (
            texts.pooled.shape[0],
            pictures.pooled.shape[0],
        )  # len() would be a constant of the export
        words = texts.tokens[:, None].expand(-1, p, -1, -1).flatten(0, 1)
        keep = texts.keep[:, None].expand(-1, p, -1).flatten(0, 1)
        places = grid_mean(pictures.tokens, self.side, JOINT_WINDOW)
        x, whole = self._through(words, keep, places[None].expand(t, -1, -1, -1).flatten(0, 1))
        a = words.shape[1]
        pooled = [self.word_pool(x[:, :a], keep), self.place_pool(x[:, a:], whole[:, a:])]
        return self.head(torch.cat(pooled, -1)).reshape(t, p), None

    def words(self, texts: Encoded, pictures: Encoded) -> Tensor:
        """Return (n, length, width) for n pairs."""
        places = grid_mean(pictures.tokens, self.side, JOINT_WINDOW)
        return self._through(texts.tokens, texts.keep, places)[0][:, : texts.tokens.shape[1]]

    def _through(self, words: Tensor, keep: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([words + self.kinds[0], places + self.kinds[1]], 1)
        whole = torch.cat([keep, torch.ones_like(places[..., 0], dtype=torch.bool)], 1)
        for layer in self.layers:
            x = layer(x, whole)
        return x, whole


class Cross(nn.Module):
    """Two streams: words look at all places, windows of places look at the words."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.side, width, layer = sizes.side, sizes.width, sizes.layer
        self.look, self.back = CoAttention(*layer), CoAttention(*layer)
        self.more = nn.ModuleList(Layer(*layer) for _ in range(sizes.layers - 1))
        self.word_pool, self.place_pool = Pool(width), Pool(width)
        self.head = _head(2 * width, sizes)

    def forward(self, texts: Encoded, pictures: Encoded) -> tuple[Tensor, Tensor]:
        """Return (t, p) and the attention of words on places, (t, p, length, places)."""
        x, seen = self.look.all_pairs(texts.tokens, pictures.tokens, pictures.keep)
        t, p = x.shape[:2]
        keep = texts.keep[:, None].expand(-1, p, -1)
        for layer in self.more:
            x = layer(x.flatten(0, 1), keep.flatten(0, 1)).unflatten(0, (t, p))
        windows = grid_mean(pictures.tokens, self.side, CROSS_WINDOW)
        y = self.back.all_pairs(windows, texts.tokens, texts.keep)[0].transpose(0, 1)
        whole = torch.ones(y.shape[:-1], dtype=torch.bool, device=y.device)
        pooled = [self.word_pool(x, keep), self.place_pool(y, whole)]
        return self.head(torch.cat(pooled, -1)).squeeze(-1), seen

    def words(self, texts: Encoded, pictures: Encoded) -> Tensor:
        """Return (n, length, width) for n pairs."""
        x: Tensor = self.look(texts.tokens, pictures.tokens, pictures.keep)
        for layer in self.more:
            x = layer(x, texts.keep)
        return x


PAIRS: dict[str, Any] = {"concat": Concat, "joint": Joint, "cross": Cross}


def _head(given: int, sizes: Sizes) -> nn.Sequential:
    """Return a perceptron to one score; 0 until it is trained."""
    return nn.Sequential(
        nn.LayerNorm(given),
        nn.Linear(given, sizes.width),
        nn.GELU(),
        nn.Dropout(sizes.dropout),
        zero_linear(sizes.width, 1),
    )
