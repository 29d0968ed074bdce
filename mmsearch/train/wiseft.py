"""Between the base and what training made of it: WiSE-FT, arXiv:2109.01903."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Point:
    """alpha: 0 is the base, 1 the tuned model. heldout, general: text->image R@k, per cent."""

    alpha: float
    heldout: float
    general: float | None


def blend(module: nn.Module, base: State, tuned: State, alpha: float) -> None:
    """Load (1 - alpha) * base + alpha * tuned into a module. At 0 and 1 the bits are theirs.

    Raises:
        KeyError: the two are not of one model.
    """
    # WiSE-FT, arXiv:2109.01903 eq. 1: all weights, heads and embeddings too.
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            a, b = base[name], tuned[name]
            if alpha in (0, 1) or not tensor.is_floating_point():
                tensor.copy_(b if alpha == 1 else a)
            else:
                tensor.copy_(torch.lerp(a, b, alpha))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's state."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def sweep(
    steps: int,
    at: Callable[[float], tuple[float, float | None]],
    known: Mapping[float, tuple[float, float | None]],
) -> list[Point]:
    """Return the points for alpha = 0, 1 / steps, ..., 1.

    Args:
        steps: 10 is every tenth.
        at: measures the blend for an alpha: held-out and general R@k.
        known: what was measured already.
    """
    points = []
    for i in range(steps + 1):
        alpha = i / steps
        points.append(Point(alpha, *(known[alpha] if alpha in known else at(alpha))))
    return points


def choose(points: Sequence[Point], *, tolerance: float) -> Point:
    """Return the best held-out point that loses at most `tolerance` points on the general set.

    Among equals the one nearer to the base: it changes less. Without a general set all count.

    Args:
        points: the base, at alpha 0, among them.
        tolerance: in points of R@k.
    """
    base = next(p for p in points if p.alpha == 0)
    allowed = [
        p
        for p in points
        if p.general is None or base.general is None or p.general >= base.general - tolerance - 1e-9
    ]
    return max(allowed, key=lambda p: (p.heldout, -p.alpha))
