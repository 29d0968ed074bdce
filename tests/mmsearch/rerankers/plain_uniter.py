"""UNITER in plain numpy, one pair at a time: arXiv:1909.11740, section 3.1, over the layers of
BERT (arXiv:1810.04805). The oracle for `uniter`."""

from __future__ import annotations

from collections.abc import Mapping
from math import erf, sqrt
from typing import Any

import numpy as np

HEADS = 2
gelu = np.vectorize(lambda x: x * (1 + erf(x / sqrt(2))) / 2)


class Plain:
    """state: arrays by the names of the published checkpoints."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = {name: np.asarray(value, np.float64) for name, value in state.items()}

    def logits(self, words: list[int], features: Any, boxes: Any, head: str) -> Any:
        """Return what the head says of one text and one picture; boxes in 0 to 1."""
        states = np.concatenate([self._words(words), self._regions(features, np.asarray(boxes))])
        layers = {name.split(".")[3] for name in self._state if name.startswith("uniter.encoder")}
        for n in range(len(layers)):
            states = self._layer(states, f"uniter.encoder.layer.{n}")
        return self._linear(np.tanh(self._linear(states[0], "uniter.pooler.dense")), head)

    def _words(self, words: list[int]) -> Any:
        word, position, kind = (
            self._state[f"uniter.embeddings.{name}_embeddings.weight"]
            for name in ("word", "position", "token_type")
        )
        made = [word[w] + position[n] + kind[0] for n, w in enumerate(words)]
        return self._norm(np.stack(made), "uniter.embeddings.LayerNorm")

    def _regions(self, features: Any, boxes: Any) -> Any:
        sides = [
            (x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in boxes
        ]
        at = "uniter.img_embeddings"
        seen = self._norm(self._linear(features, f"{at}.img_linear"), f"{at}.img_layer_norm")
        placed = self._norm(self._linear(sides, f"{at}.pos_linear"), f"{at}.pos_layer_norm")
        kind = self._state["uniter.embeddings.token_type_embeddings.weight"][1]
        return self._norm(seen + placed + kind, f"{at}.LayerNorm")

    def _layer(self, x: Any, at: str) -> Any:
        query, key, value = (
            np.split(self._linear(x, f"{at}.attention.self.{n}"), HEADS, axis=1)
            for n in ("query", "key", "value")
        )
        mixed = []
        for q, k, v in zip(query, key, value, strict=True):
            weights = np.exp(q @ k.T / sqrt(q.shape[1]))
            mixed.append(weights / weights.sum(1, keepdims=True) @ v)
        attended = self._linear(np.concatenate(mixed, 1), f"{at}.attention.output.dense")
        x = self._norm(x + attended, f"{at}.attention.output.LayerNorm")
        inner = gelu(self._linear(x, f"{at}.intermediate.dense"))
        return self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")

    def _linear(self, x: Any, name: str) -> Any:
        return np.asarray(x) @ self._state[f"{name}.weight"].T + self._state[f"{name}.bias"]

    def _norm(self, x: Any, name: str) -> Any:
        spread = np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        unit = (x - x.mean(-1, keepdims=True)) / spread
        return unit * self._state[f"{name}.weight"] + self._state[f"{name}.bias"]
