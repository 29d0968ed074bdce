"""Hubness taken out of a model: pictures that are a little like every text come up less.

Querybank normalisation (Bogolin et al., CVPR 2022, arXiv:2112.12777) with the inverted softmax of
Smith et al. (ICLR 2017, arXiv:1702.03859): a part of how much a picture is like a bank of texts is
taken off its cosine with a text,

    s(t, v) = t.v - weight * (b(v) - its mean),  b(v) = log(mean over the bank of exp(T t_j.v)) / T

It is written into the vectors, in two more dimensions, so that search and index need to know
nothing of it. The same for texts, with a bank of pictures, would find captions by pictures better,
and it would lift what is like no picture to the scores of what is: then no score tells any more
that there is nothing.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

SPARE = 1.25  # room for greater hubs than those seen
EXTRA = 2  # dimensions
NEARLY = 0.999  # the greatest entry whose root has a gradient
AT_ONCE = 512


class Inner(Protocol):
    """What a head is inside: a module that gives (n, dim) unit rows for (n, width) features."""

    @property
    def dim(self) -> int: ...

    @property
    def width(self) -> int: ...

    def __call__(self, features: Tensor) -> Tensor: ...


class Given(nn.Module):
    """Takes vectors of any length for features."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = self.width = dim

    def forward(self, rows: Tensor) -> Tensor:
        """Return (n, dim) unit rows."""
        return F.normalize(rows, dim=-1)


class _Around(nn.Module):
    """A head whose rows go on for two dimensions."""

    plain: Tensor
    constant: Tensor

    def __init__(self, inner: Inner) -> None:
        super().__init__()
        self.inner = inner
        for name in ("plain", "constant"):
            self.register_buffer(name, torch.ones(1))

    @property
    def dim(self) -> int:
        """The length of its rows."""
        return self.inner.dim + EXTRA

    @property
    def width(self) -> int:
        """The number of features that it sees."""
        return self.inner.width

    def share_out(self, reach: float) -> None:
        """Set how much of the length 1 the inner head's row has, for hubness up to `reach`."""
        plain = 1 / (1 + reach)
        self.plain.fill_(math.sqrt(plain))
        self.constant.fill_(math.sqrt(reach * plain))


class BankedHead(_Around):
    """A picture head whose unit rows carry their hubness, so that it goes off every cosine.

    With h the weighted hubness, at most `reach`, rows of pictures and of texts (`AskingHead`) are

        sqrt(p) v, c s(v), c sqrt(1 - s(v)^2)    and    sqrt(p) t, c, 0

    where s = -h / reach, p = 1 / (1 + reach) and c^2 = reach p: of length 1, and with the cosine
    p (t.v - h(v)). No other p and c leave more to t.v. Between pictures, cosines are p times the
    old ones and a nearly constant rest.
    """

    bank: Tensor
    level: Tensor
    sharpness: Tensor
    middle: Tensor
    slope: Tensor

    def __init__(self, inner: Inner, bank: Tensor) -> None:
        """Wrap a head. `fit` comes next.

        Args:
            inner: gives the unit rows.
            bank: (m, dim) unit rows of texts.
        """
        super().__init__(inner)
        self.register_buffer("bank", bank.contiguous())
        self.register_buffer("level", torch.full((len(bank),), -math.log(len(bank))))
        for name in ("sharpness", "middle", "slope"):
            self.register_buffer(name, torch.ones(1))

    def fit(self, rows: Tensor, *, sharpness: float, weight: float) -> float:
        """Set what hubness counts, and return the greatest that has room.

        Args:
            rows: (n, dim) of the inner head; their mean hubness is none.
            sharpness: T; the greater, the more the nearest of the bank count alone.
            weight: of the hubness in a cosine.
        """
        self.sharpness.fill_(sharpness)
        found = torch.cat([self.hubness(part) for part in rows.split(AT_ONCE)])
        reach = SPARE * weight * float((found - found.mean()).abs().max())
        self.middle.fill_(found.mean())
        self.slope.fill_(weight / reach)
        self.share_out(reach)
        return reach

    def hubness(self, rows: Tensor) -> Tensor:
        """Return b of (n, dim) unit rows of the inner head, (n, 1)."""
        logits = F.linear(rows * self.sharpness, self.bank, self.level)
        return torch.logsumexp(logits, 1, keepdim=True) / self.sharpness

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, dim + 2) unit rows for (n, width) tower features."""
        rows = self.inner(features)
        with torch.autocast(rows.device.type, enabled=False):
            rows = rows.float()
            s = ((self.middle - self.hubness(rows)) * self.slope).clamp(-NEARLY, NEARLY)
            more = torch.cat([s, (1 - s * s).sqrt()], 1)
            return torch.cat([rows * self.plain, more * self.constant], 1)


class AskingHead(_Around):
    """A text head whose rows take the hubness of pictures off; see `BankedHead`."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, dim + 2) unit rows for (n, width) tower features."""
        rows = self.inner(features)
        one = torch.ones_like(rows[:, :1])
        more = torch.cat([one, torch.zeros_like(one)], 1)
        return torch.cat([rows * self.plain, more * self.constant], 1)


def debias(
    heads: tuple[Inner, Inner], images: Tensor, texts: Tensor, *, sharpness: float, weight: float
) -> tuple[BankedHead, AskingHead]:
    """Return a model's heads with the hubness of pictures taken off.

    Args:
        heads: of pictures and of texts.
        images: (n, dim) unit rows of some pictures, as the heads give them.
        texts: (m, dim), the bank.
        sharpness: T.
        weight: of the hubness.
    """
    picture, text = BankedHead(heads[0], texts), AskingHead(heads[1])
    text.share_out(picture.fit(images, sharpness=sharpness, weight=weight))
    return picture, text
