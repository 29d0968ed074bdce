"""The losses of paired rows, and what is learnt with them: the temperature and SigLIP's bias.

All take unit rows; row i of the pictures belongs to row i of the texts. `same` marks the pairs
that are true besides (repeated captions, two views of one thing): they are no negatives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

MAX_SCALE = 100.0  # CLIP's bound, arXiv:2103.00020 section 2.5
SIGLIP_BIAS = -10.0  # arXiv:2303.15343 section 3.2, against the many negatives at the start
SIGLIP_SCALE = 10.0


def clip_loss(
    images: Tensor,
    texts: Tensor,
    *,
    scale: Tensor | float,
    same: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Return the symmetric InfoNCE loss of n pairs.

    Args:
        images: (n, dim) unit rows.
        texts: (n, dim) unit rows.
        scale: 1 / temperature.
        same: (n, n) bool; True where text i is also true of picture j. None: only the diagonal.
        smoothing: share of the target spread evenly over the candidates that count.
    """
    logits = scale * texts @ images.T
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    left_out = torch.zeros_like(own) if same is None else (same | same.T) & ~own
    # CLIP, arXiv:2103.00020 figure 3: the mean of the two directions.
    return (_rows(logits, left_out, smoothing) + _rows(logits.T, left_out.T, smoothing)) / 2


def _rows(logits: Tensor, left_out: Tensor, smoothing: float) -> Tensor:
    logs = F.log_softmax(logits.masked_fill(left_out, float("-inf")), dim=1)
    loss = -logs.diagonal()
    if smoothing:
        # Not cross_entropy(label_smoothing=...): it would spread onto the masked, at -inf.
        even = -logs.masked_fill(left_out, 0.0).sum(1) / (~left_out).sum(1)
        loss = (1 - smoothing) * loss + smoothing * even
    mean: Tensor = loss.mean()
    return mean


def siglip_loss(
    images: Tensor,
    texts: Tensor,
    *,
    scale: Tensor | float,
    bias: Tensor | float,
    same: Tensor | None = None,
) -> Tensor:
    """Return the sigmoid loss of n pairs: each of n * n is right or wrong by itself.

    Args:
        images: (n, dim) unit rows.
        texts: (n, dim) unit rows.
        scale: 1 / temperature.
        bias: added to each logit.
        same: (n, n) bool; True where text i is also true of picture j: it counts neither way.
    """
    logits = scale * texts @ images.T + bias
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    # Sigmoid loss, arXiv:2303.15343 eq. 1: a sum over all pairs, divided by n, not by n * n.
    each = -F.logsigmoid(torch.where(own, logits, -logits))
    if same is not None:
        each = each.masked_fill((same | same.T) & ~own, 0.0)
    loss: Tensor = each.sum() / len(logits)
    return loss


def cosine_loss(
    images: Tensor, texts: Tensor, *, margin: float, same: Tensor | None = None
) -> Tensor:
    """Return the mean of 1 - cos over the pairs, plus that of max(0, cos - margin) over the rest.

    As torch's cosine_embedding_loss, with the two means taken apart: the n * (n - 1) wrong
    pairs would drown the n right ones.
    """
    scores = texts @ images.T
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    wrong = ~own if same is None else ~(own | same | same.T)
    right = (1 - scores.diagonal()).mean()
    loss: Tensor = right + F.relu(scores - margin)[wrong].sum() / wrong.sum().clamp(min=1)
    return loss


def same_pairs(captions: Tensor, groups: Tensor) -> Tensor:
    """Return (n, n) bool: True where two pairs share their caption, their picture or group.

    Args:
        captions: (n,) a number for each distinct caption; or (n, c), for (c, n, n): the pairs of
            each picture with its first caption, with its second, and so on.
        groups: (n,) a number for each distinct picture or group of pictures.
    """
    if captions.ndim == 2:
        return torch.stack([same_pairs(own, groups) for own in captions.T])
    same: Tensor = (captions[:, None] == captions) | (groups[:, None] == groups)
    return same


class PairLoss(nn.Module):
    """A loss by its name, with what is learnt beside the towers.

    Args:
        name: "clip", "siglip" or "cosine".
        scale: 1 / temperature to start from; learnt, at most MAX_SCALE.
        bias: of the sigmoid loss, to start from; learnt.
        smoothing: label smoothing of "clip".
        margin: of "cosine".
    """

    def __init__(
        self,
        name: str,
        *,
        scale: float = 1 / 0.07,
        bias: float = SIGLIP_BIAS,
        smoothing: float = 0.0,
        margin: float = 0.2,
    ) -> None:
        super().__init__()
        self.name, self.smoothing, self.margin = name, smoothing, margin
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))
        self.log_scale.requires_grad_(name != "cosine")
        self.bias.requires_grad_(name == "siglip")

    def scale(self) -> Tensor:
        """Return 1 / temperature."""
        return self.log_scale.exp()

    def clamp_(self) -> None:
        """Keep the scale within 1 to MAX_SCALE; once after each step.

        The parameter itself, as CLIP does: clamped in the forward pass alone it would get no
        gradient beyond the bound, and stay there.
        """
        with torch.no_grad():
            self.log_scale.clamp_(0.0, math.log(MAX_SCALE))

    def forward(self, images: Tensor, texts: Tensor, same: Tensor | None = None) -> Tensor:
        """Return the loss of (n, dim) unit rows; see the function of its name.

        With texts of (n, c, dim), and (c, n, n) same: the mean over a picture's c captions.
        """
        if texts.ndim == 3:
            each = [
                self(images, own, None if same is None else same[i])
                for i, own in enumerate(texts.unbind(1))
            ]
            return torch.stack(each).mean()
        if self.name == "clip":
            return clip_loss(images, texts, scale=self.scale(), same=same, smoothing=self.smoothing)
        if self.name == "siglip":
            return siglip_loss(images, texts, scale=self.scale(), bias=self.bias, same=same)
        return cosine_loss(images, texts, margin=self.margin, same=same)
