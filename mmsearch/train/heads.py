"""The trained part of the starter model: two heads, their loss, and averaged weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)


class Head(nn.Module):
    """Linear + MLP on standardised features, one unit vector a row.

    The linear path alone would do; the MLP corrects it, and dropout keeps that honest.
    `mean` and `std` are those of the training features; they are saved with the weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, *, hidden: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std.clamp(min=1e-6))
        width = mean.shape[0]
        self.dim = dim
        self.drop_in = nn.Dropout(dropout / 2)
        self.linear = nn.Linear(width, dim)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )

    @property
    def width(self) -> int:
        """The number of features that it sees."""
        return len(self.mean)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, dim) unit rows for (n, width) tower features."""
        x = self.drop_in((features - self.mean) / self.std)
        return F.normalize(self.linear(x) + self.mlp(x), dim=-1)


class TwinHead(nn.Module):
    """Two heads side by side: their unit rows beside one another, one unit row of both widths.

    So a cosine of two twins' rows is the weighted mean of the cosines of their first and of their
    second heads: an ensemble that search sees as one vector. The first may be a twin itself.

    Heads that tell the same things apart give vectors that need fewer dimensions than they have:
    `basis` are those, (width of both, dim), if it was narrowed.
    """

    parts: Tensor
    basis: Tensor | None

    def __init__(self, first: Head | TwinHead, second: Head, *, share: float, apart: bool) -> None:
        """Join two heads.

        Args:
            first: for the first features.
            second: for those after them.
            share: of the second in a cosine, from 0 to 1.
            apart: whether each sees features of its own; both see all of them otherwise.
        """
        super().__init__()
        self.first, self.second, self.apart = first, second, apart
        self.dim: int = first.dim + second.dim
        parts = [torch.full((first.dim,), (1 - share) ** 0.5)]
        self.register_buffer("parts", torch.cat([*parts, torch.full((second.dim,), share**0.5)]))
        self.register_buffer("basis", None)

    def narrow(self, basis: Tensor) -> None:
        """Give (n, basis's columns) from now on: what (n, width) rows have along each column."""
        self.basis, self.dim = basis, basis.shape[1]

    @property
    def width(self) -> int:
        """The number of features that both see together."""
        return self.first.width + self.second.width if self.apart else self.first.width

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, dim) unit rows for (n, width) tower features."""
        one = two = features
        if self.apart:
            one, two = features[:, : self.first.width], features[:, self.first.width :]
        rows = torch.cat([self.first(one), self.second(two)], 1) * self.parts
        return rows if self.basis is None else F.normalize(rows @ self.basis, dim=-1)


class Temperature(nn.Module):
    """The learnt scale of the logits, at most 100 as in CLIP."""

    def __init__(self, start: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / start)))

    def forward(self) -> Tensor:
        """Return the factor for cosine scores: 1 / temperature."""
        return self.log_scale.clamp(max=math.log(100)).exp()


def info_nce(images: Tensor, texts: Tensor, *, scale: Tensor | float, same: Tensor) -> Tensor:
    """Return the symmetric contrastive loss of n pairs; row i belongs to row i.

    Args:
        images: (n, dim) unit rows.
        texts: (n, dim) unit rows.
        scale: 1 / temperature.
        same: (n, n) bool; True where text i is also true of picture j: left out of the
            negatives, so that a repeated caption is not pushed away from itself.
    """
    logits = scale * texts @ images.T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    # CLIP, arXiv:2103.00020, figure 3: mean of the two directions
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def same_captions(groups: Tensor) -> Tensor:
    """Return (n, n) bool, True where two rows of a batch carry the same caption group."""
    return groups[:, None] == groups[None, :]


class Average:
    """Exponential moving average of the trained parameters of some modules."""

    def __init__(self, modules: list[nn.Module], decay: float) -> None:
        self._live = [p for m in modules for p in m.parameters() if p.requires_grad]
        self._mean = [p.detach().clone() for p in self._live]
        self._decay = decay

    def update(self) -> None:
        """Move the average a little towards the live weights; once a step."""
        for mean, live in zip(self._mean, self._live, strict=True):
            mean.lerp_(live.detach(), 1 - self._decay)

    def swap(self) -> None:
        """Exchange the average and the live weights; a second call undoes it."""
        for mean, live in zip(self._mean, self._live, strict=True):
            kept = live.detach().clone()
            live.data.copy_(mean)
            mean.copy_(kept)
