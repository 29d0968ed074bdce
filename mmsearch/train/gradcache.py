"""One backward pass of a contrastive batch: in parts where memory is short, over all processes.

GradCache, arXiv:2101.06983: the loss needs every row of the batch, but a row's own graph is
needed only while its gradient is carried back through the tower. So the rows are made once
without graphs, the loss gives the gradient of each row, and each part is then made again, with
its graph, and pushed back with its rows' gradients. The result is that of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from mmsearch.train.world import World

P = TypeVar("P")
Pair = tuple[Tensor, Tensor]


class Loss(Protocol):
    """From all rows, of all processes, to one number."""

    def __call__(self, images: Tensor, texts: Tensor) -> Tensor: ...


def backward(parts: Sequence[P], encode: Callable[[P], Pair], loss_of: Loss, world: World) -> float:
    """Add the gradient of the loss of all parts, of all processes, to the parameters.

    After the mean over the processes (`World.average_gradients`) each gradient is what one
    process with the whole batch would have.

    Args:
        parts: this process's batch, cut; one part costs no second pass.
        encode: from a part to its unit rows, (n, dim) twice.
        loss_of: gets the rows of all processes in order of rank. Its own parameters get their
            gradient too.
        world: the processes.

    Returns:
        The loss of the whole batch.
    """
    whole = len(parts) == 1
    states: list[list[Tensor]] = []
    live: list[Pair] = []
    with torch.set_grad_enabled(whole):
        for part in parts:
            states.append(_random_state())
            live.append(encode(part))
    images, texts = (
        world.gather(torch.cat([pair[side].detach() for pair in live])).requires_grad_()
        for side in (0, 1)
    )
    loss = loss_of(images, texts)
    loss.backward()
    start = 0
    # Times the size: the mean over the processes divides by it, and each has only its own rows.
    gradients = [world.own(side.grad) * world.size for side in (images, texts)]
    for part, state, pair in zip(parts, states, live, strict=True):
        if not whole:
            with _replayed(state):  # the same dropout as in the first pass
                pair = encode(part)
        stop = start + len(pair[0])
        # A side that is frozen as a whole has no graph.
        moved = [
            (p, g[start:stop]) for p, g in zip(pair, gradients, strict=True) if p.requires_grad
        ]
        if moved:
            torch.autograd.backward([p for p, _ in moved], [g for _, g in moved])
        start = stop
    return float(loss.detach())


def _random_state() -> list[Tensor]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *cuda]


def _restore(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if state[1:]:
        torch.cuda.set_rng_state_all(state[1:])


@contextmanager
def _replayed(state: list[Tensor]) -> Iterator[None]:
    now = _random_state()
    _restore(state)
    try:
        yield
    finally:
        _restore(now)
