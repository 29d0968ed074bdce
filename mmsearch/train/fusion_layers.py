"""The layers of the `fusion` re-ranker: attention between two sequences."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)


class Attention(nn.Module):
    """Multi-head attention, arXiv:1706.03762 section 3.2, of a sequence on another or itself."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.drop = nn.Dropout(dropout)

    def forward(self, asking: Tensor, given: Tensor, keep: Tensor) -> Tensor:
        """Return (n, a, width) for n pairs: (n, a, width) asks (n, g, width); keep: (n, g)."""
        n, a, width = asking.shape
        split = (n, -1, self.heads, width // self.heads)
        q = self.query(asking).view(split).transpose(1, 2)
        k, v = (x.reshape(split).transpose(1, 2) for x in self.key_value(given).chunk(2, -1))
        mixed = self._weights(q, k, keep) @ v
        out: Tensor = self.drop(self.out(mixed.transpose(1, 2).reshape(n, a, width)))
        return out

    def all_pairs(self, asking: Tensor, given: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return (m, n, a, width), each of m sequences asking each of n, and the mean attention
        of the heads, (m, n, a, g).

        Queries, keys and values are worked out once a sequence, not once a pair.
        """
        m, a, width = asking.shape
        n, g, _ = given.shape
        size = width // self.heads
        q = self.query(asking).reshape(-1, self.heads, size).transpose(0, 1)  # (heads, m * a, size)
        k, v = (
            x.reshape(n, g, self.heads, size).transpose(1, 2)
            for x in self.key_value(given).chunk(2, -1)
        )
        weights = self._weights(q[None], k, keep)  # (n, heads, m * a, g)
        mixed = (weights @ v).reshape(n, self.heads, m, a, size)
        mixed = mixed.permute(2, 0, 3, 1, 4).reshape(m, n, a, width)
        seen = weights.mean(1).reshape(n, m, a, g).transpose(0, 1)
        return self.drop(self.out(mixed)), seen

    def _weights(self, q: Tensor, k: Tensor, keep: Tensor) -> Tensor:
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        # Not -inf: a row of a padded batch may have nothing to attend to.
        return scores.masked_fill(~keep[:, None, None, :], -1e4).softmax(-1)


class Feed(nn.Module):
    """The perceptron of a transformer's layer, with its norm and its shortcut."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        out: Tensor = x + self.drop(self.outer(self.drop(F.gelu(self.inner(self.norm(x))))))
        return out


class Layer(nn.Module):
    """Self-attention and perceptron, norms first."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed = Feed(width, dropout)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the same shape as x, (n, length, width); keep: (n, length)."""
        normed = self.norm(x)
        out: Tensor = self.feed(x + self.attention(normed, normed, keep))
        return out


class CoAttention(nn.Module):
    """One stream attends to the other (ViLBERT, arXiv:1908.02265 figure 2b), then a perceptron.

    Unlike there, what was found is also multiplied with what asked: the comparison that a sum
    would leave to the perceptron (SGRAF, arXiv:2101.01368 section 3.2, compares so).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.other_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.found_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.compare = nn.Linear(width, width)
        self.feed = Feed(width, dropout)

    def forward(self, x: Tensor, other: Tensor, keep: Tensor) -> Tensor:
        """Return (n, a, width) for n pairs; keep: of the other stream, (n, g)."""
        asking = self.norm(x)
        return self._after(x, asking, self.attention(asking, self.other_norm(other), keep))

    def all_pairs(self, x: Tensor, other: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return (m, n, a, width) for each of m with each of n, and the attention."""
        asking = self.norm(x)
        found, seen = self.attention.all_pairs(asking, self.other_norm(other), keep)
        return self._after(x[:, None], asking[:, None], found), seen

    def _after(self, x: Tensor, asking: Tensor, found: Tensor) -> Tensor:
        out: Tensor = self.feed(x + found + self.compare(self.found_norm(found) * asking))
        return out


class Pool(nn.Module):
    """The mean of a sequence, weighted by a learnt score of each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return (..., width) for (..., length, width); keep: (..., length)."""
        weights = self.gate(x).squeeze(-1).masked_fill(~keep, -1e4).softmax(-1)
        return (weights[..., None] * x).sum(-2)


def masked_mean(x: Tensor, keep: Tensor) -> Tensor:
    """Return (n, width): the mean over the tokens that are kept."""
    share = keep[..., None].to(x.dtype)
    return (x * share).sum(-2) / share.sum(-2).clamp(min=1)


def grid_mean(x: Tensor, side: int, window: int) -> Tensor:
    """Return (n, ceil(side / window)**2, width): tokens of a square grid, averaged by windows."""
    maps = x.transpose(1, 2).reshape(-1, x.shape[2], side, side)
    return F.avg_pool2d(maps, window, ceil_mode=True).flatten(2).transpose(1, 2)


def zero_linear(given: int, out: int) -> nn.Linear:
    """Return a layer that gives zeros until it is trained."""
    made = nn.Linear(given, out)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made
