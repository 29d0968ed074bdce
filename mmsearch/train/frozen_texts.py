"""A frozen text tower, asked once for each text: what lies below its head is kept in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FrozenTexts:
    """Takes the place of a text encoder of which the head alone is trained.

    The tower computes in float32 and without dropout, as it does in a search.

    Args:
        tower: what is frozen, to be kept in eval mode.
        lower: tokens -> (n, width), by the tower.
        upper: (n, width) -> (n, dim), by the head.
    """

    def __init__(
        self,
        tower: nn.Module,
        lower: Callable[[dict[str, Tensor]], Tensor],
        upper: Callable[[Tensor], Tensor],
    ) -> None:
        self._tower, self._lower, self._upper = tower, lower, upper
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return (n, dim) for input_ids and attention_mask, (n, length)."""
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        keys = [
            row[keep].tobytes()
            for row, keep in zip(ids.cpu().numpy(), mask.cpu().numpy() > 0, strict=True)
        ]
        new = list({key: i for i, key in enumerate(keys) if key not in self._known}.values())
        if new:
            self._tower.eval()
            with torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
                made = self._lower({name: values[new] for name, values in tokens.items()})
            self._known.update((keys[i], row) for i, row in zip(new, made.float(), strict=True))
        return self._upper(torch.stack([self._known[key] for key in keys]))
