"""The light cross-encoder `fusion`: picture tokens and word tokens in, one score a pair out.

What belongs to one picture or one text alone is worked out once and shared by all its pairs;
only what lies above the first attention between the two is paid for each pair.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.errors import BadSource, UnknownName
from mmsearch.train.fusion_layers import Layer, masked_mean, zero_linear
from mmsearch.train.fusion_pairs import PAIRS, Sizes
from mmsearch.train.heads import Head
from mmsearch.train.rerank_tokens import LAST, LEVELS, WIDTH
from mmsearch.train.starter_image import TOP_WIDTH

FusionName = Literal["cross", "joint", "concat"]
DIM, HIDDEN, HEAD_DROPOUT = 384, 768, 0.4  # of the heads, much as in the starter's own recipe


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a `fusion` re-ranker.

    fusion: "concat": pooled picture and pooled text, compared by a perceptron. "joint": one
    transformer over both sequences (UNITER, arXiv:1909.11740). "cross": two streams that attend
    to one another (ViLBERT, arXiv:1908.02265; LXMERT, arXiv:1908.07490). layers: of the fusion;
    concat has none. dropout: inside. given_dropout: of the tokens as they are given.

    Raises:
        UnknownName: no such fusion.
        BadSource: the heads do not divide the width.
    """

    fusion: FusionName = "cross"
    width: int = 192
    heads: int = 4
    layers: int = 1
    dropout: float = 0.1
    given_dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.fusion not in get_args(FusionName):
            raise UnknownName("fusion", self.fusion, get_args(FusionName))
        if self.width % self.heads:
            raise BadSource(f"width {self.width} does not divide by {self.heads} heads")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


class Encoded(NamedTuple):
    """n pictures or n texts, each encoded alone.

    tokens: (n, length, width). local: (n, length, DIM), unit rows. pooled: (n, DIM), unit rows of
    the same space. keep: (n, length), False on padding.
    """

    tokens: Tensor
    local: Tensor
    pooled: Tensor
    keep: Tensor

    def rows(self, which: slice | Tensor) -> Encoded:
        """Return some of them; of texts, without the columns that only longer ones need."""
        keep = self.keep[which]
        n = int(keep.sum(1).max())
        return Encoded(
            self.tokens[which][:, :n], self.local[which][:, :n], self.pooled[which], keep[:, :n]
        )


class Given(NamedTuple):
    """What is known of the tokens before training.

    top, top_bias: the tower's last convolution, frozen. token_mean, token_std: of the training
    pictures' places, (WIDTH + channels of top,). side: places each way. images, texts: mean and
    deviation of `Fusion.picture_features` and of the mean word.
    """

    top: Tensor
    top_bias: Tensor
    token_mean: Tensor
    token_std: Tensor
    side: int
    images: tuple[Tensor, Tensor]
    texts: tuple[Tensor, Tensor]


class Fusion(nn.Module):
    """The whole re-ranker. Its score has two parts, learnt one after the other.

    Alignment: a head on the pooled tokens of each side, as the starter has them. Fusion: late
    interaction (FILIP, arXiv:2111.07783) of words and places, put into the heads' space by their
    linear paths, and what `pair` makes of both. "concat" knows pooled vectors alone.
    share: of the second part in the score; set when it is known.
    """

    top: Tensor
    top_bias: Tensor
    token_mean: Tensor
    token_std: Tensor
    share: Tensor

    def __init__(self, shape: Shape, given: Given) -> None:
        super().__init__()
        self.shape = shape
        width, inner = shape.width, (shape.width, shape.heads, shape.dropout)
        for name in ("top", "top_bias", "token_mean"):
            self.register_buffer(name, getattr(given, name).clone())
        self.register_buffer("token_std", given.token_std.clamp(min=1e-6))
        self.register_buffer("share", torch.tensor(1.0))
        self.image_head = Head(*given.images, hidden=HIDDEN, dim=DIM, dropout=HEAD_DROPOUT)
        self.text_head = Head(*given.texts, hidden=HIDDEN, dim=DIM, dropout=HEAD_DROPOUT)
        self.given_drop = nn.Dropout(shape.given_dropout)
        self.patch = nn.Linear(len(given.token_mean), width)
        self.place = nn.Parameter(torch.randn(given.side**2, width) * 0.02)
        self.picture_layer, self.picture_norm = Layer(*inner), nn.LayerNorm(width)
        word_width = len(given.texts[0])
        self.given_norm, self.word = nn.LayerNorm(word_width), nn.Linear(word_width, width)
        self.word_layer, self.word_norm = Layer(*inner), nn.LayerNorm(width)
        self.picture_move, self.text_move = zero_linear(width, DIM), zero_linear(width, DIM)
        self.pooled_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.local_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.word_weight = zero_linear(width, 1)
        sizes = Sizes(width, shape.heads, shape.layers, shape.dropout, given.side, DIM)
        self.pair = PAIRS[shape.fusion](sizes)

    def picture_features(self, maps: Tensor) -> Tensor:
        """Return (n, 2640), what the head of pictures sees of (n, WIDTH, side, side)."""
        top = F.conv2d(maps[:, WIDTH - LAST :], self.top, self.top_bias).clamp(0, 6)
        return self._features(top, maps)

    def pictures(self, maps: Tensor) -> Encoded:
        """Return n pictures encoded alone, from (n, WIDTH, side, side)."""
        top = F.conv2d(maps[:, WIDTH - LAST :], self.top, self.top_bias).clamp(0, 6)
        pooled = self.image_head(self._features(top, maps))
        given = torch.cat([maps, top], 1).flatten(2).transpose(1, 2)
        x = self.patch(self.given_drop((given - self.token_mean) / self.token_std)) + self.place
        keep = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        x = self.picture_norm(self.picture_layer(x, keep))
        local = self._places(given) + self.picture_move(x)
        return Encoded(x, F.normalize(local, dim=-1), pooled, keep)

    def texts(self, words: Tensor, keep: Tensor) -> Encoded:
        """Return n texts encoded alone, from (n, length, word_width)."""
        pooled = self.text_head(masked_mean(words, keep))
        x = self.word(self.given_drop(self.given_norm(words)))
        x = self.word_norm(self.word_layer(x, keep))
        head = self.text_head
        local = head.linear((words - head.mean) / head.std) + self.text_move(x)
        return Encoded(x, F.normalize(local, dim=-1), pooled, keep)

    def scale(self) -> Tensor:
        """Return the factor of the pooled cosines, at most 100."""
        return self.pooled_scale.exp().clamp(max=100)

    def forward(self, texts: Encoded, pictures: Encoded) -> tuple[Tensor, Tensor]:
        """Return the score of each text with each picture, (t, p), and how much each word looks
        at each place, (t, p, length, places)."""
        fused, seen = self.fused(texts, pictures)
        return texts.pooled @ pictures.pooled.T + self.share * fused, seen

    def fused(self, texts: Encoded, pictures: Encoded) -> tuple[Tensor, Tensor]:
        """Return the second part of the score, (t, p), and (t, p, length, places)."""
        cosines = _cosines(texts, pictures)
        scores, seen = self.pair(texts, pictures)
        if self.shape.fusion != "concat":
            scores = scores + self.late(texts, cosines)
        return scores, cosines if seen is None else seen

    def interaction(self, texts: Encoded, pictures: Encoded) -> Tensor:
        """Return the late interaction alone, (t, p)."""
        return self.late(texts, _cosines(texts, pictures))

    def late(self, texts: Encoded, cosines: Tensor) -> Tensor:
        """Return (t, p): for each word its best place, softly, and the weighted mean of words."""
        tau = self.sharpness.exp()
        best = (torch.logsumexp(tau * cosines, -1) - math.log(cosines.shape[-1])) / tau
        weights = self.word_weight(texts.tokens).squeeze(-1).masked_fill(~texts.keep, -1e4)
        return self.local_scale.exp() * (weights.softmax(-1)[:, None] * best).sum(-1)

    def words_with(self, texts: Encoded, pictures: Encoded) -> Tensor:
        """Return (n, length, width): the words of n texts, each having seen its own picture.

        Raises:
            BadSource: "concat" has no such words.
        """
        out: Tensor = self.pair.words(texts, pictures)
        return out

    def _features(self, top: Tensor, maps: Tensor) -> Tensor:
        levels = [moments(part) for part in maps.split(LEVELS, 1)]
        return torch.cat([top.mean((2, 3)), *levels], 1)

    def _places(self, given: Tensor) -> Tensor:
        """Return (n, places, DIM): the head's linear path for one place; the mean over the places
        is that of the picture, deviations aside."""
        head = self.image_head
        level, top = given[..., :-TOP_WIDTH], given[..., -TOP_WIDTH:]
        parts, at = [(top, 0)], TOP_WIDTH
        for part, width in zip(level.split(LEVELS, -1), LEVELS, strict=True):
            parts.append((part, at))
            at += 2 * width  # the deviations, at their mean, add nothing
        seen = torch.zeros((), device=given.device)
        for part, start in parts:
            columns = slice(start, start + part.shape[-1])
            scaled = (part - head.mean[columns]) / head.std[columns]
            seen = seen + F.linear(scaled, head.linear.weight[:, columns])
        return seen + head.linear.bias


def moments(maps: Tensor) -> Tensor:
    """Return (n, 2 c) for (n, c, h, w): mean and standard deviation over the places."""
    mean = maps.mean((2, 3))
    spread = (maps - mean[:, :, None, None]).square().mean((2, 3))
    return torch.cat([mean, (spread + 1e-6).sqrt()], 1)


def _cosines(texts: Encoded, pictures: Encoded) -> Tensor:
    """Return (t, p, length, places)."""
    flat = texts.local.flatten(0, 1) @ pictures.local.flatten(0, 1).T
    cosines = flat.unflatten(1, pictures.local.shape[:2]).unflatten(0, texts.local.shape[:2])
    return cosines.transpose(1, 2)
