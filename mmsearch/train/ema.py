"""An exponential moving average of what is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Ema:
    """The moving average of some parameters. With decay 0 it is the live weights themselves.

    The decay grows to its full value, min(decay, (1 + t) / (10 + t)) after t updates: else a
    short run would end close to where it began.
    """

    def __init__(self, live: Mapping[str, Tensor], decay: float) -> None:
        self._live = dict(live)
        self._decay = decay
        self.updates = 0
        self.mean = {n: p.detach().clone() for n, p in self._live.items()} if decay else {}

    def update(self) -> None:
        """Move the average towards the live weights; once a step."""
        if not self._decay:
            return
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, mean in self.mean.items():
                mean.lerp_(self._live[name].detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in place of the live weights for a while."""
        kept = {n: self._live[n].detach().clone() for n in self.mean}
        self._copy(self.mean)
        try:
            yield
        finally:
            self._copy(kept)

    def load(self, mean: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a saved average."""
        self.updates = updates
        for name, tensor in mean.items():
            self.mean[name].copy_(tensor)

    def _copy(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self._live[name].copy_(value)
