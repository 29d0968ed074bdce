"""What a dual encoder's frozen towers know of a picture and of a question, as plain vectors.

Of the starter's architecture that is more than its two vectors: the last feature map and the
two stages below it, and the words' tokens. Of any other encoder the vectors are all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmsearch.cores import usable_cores
from mmsearch.encoders import load_encoder

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders.inner import InnerTower
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.types import Array, Encoder

Floats = npt.NDArray[np.float32]
BATCH = 16


class Features:
    """Frozen features of an encoder.

    name: of its space, equal if its weights are. image_size: the side that pictures are scaled
    to. blocks: the widths of the parts of a picture's features; the last is its vector.

    Raises:
        ModelUnavailable, UnknownName, MissingExtra: as `load_encoder`.
    """

    def __init__(self, model: str, *, threads: int | None = None) -> None:
        self.encoder: Encoder = load_encoder(model, threads=threads)
        self.name, self.image_size = self.encoder.space.name, self.encoder.image_size
        self._inner = _inner_of(self.encoder, threads or usable_cores())
        if self._inner is None:
            self.blocks: tuple[int, ...] = (self.encoder.space.dim,)
        else:
            self.blocks = self._inner.blocks(self.image_size)

    def prepare(self, image: Image) -> Array:
        """Return one picture as the encoder eats it. Thread-safe."""
        return self.encoder.prepare(image)

    def pictures(self, batch: Array) -> Floats:
        """Return (n, sum of blocks) for a stack of n prepared pictures."""
        if self._inner is None:
            return self.encoder.encode_images(batch).astype(np.float32)
        return self._inner.pictures(batch)

    def questions(self, texts: Sequence[str]) -> Floats:
        """Return (n, width) for n questions: mean and maximum over the words' tokens."""
        ask = self.encoder.encode_texts if self._inner is None else self._inner.questions
        parts = [ask(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
        return np.concatenate(parts).astype(np.float32)

    def texts(self, texts: Sequence[str]) -> Floats:
        """Return (n, dim) unit rows: the encoder's own vectors."""
        return self.encoder.encode_texts(texts).astype(np.float32)


class _Inner:
    """The inside of the starter's architecture."""

    def __init__(self, encoder: OnnxEncoder, visual: InnerTower, textual: InnerTower) -> None:
        from mmsearch.encoders.tokens import Tokens

        self._visual, self._textual = visual, textual
        self._tokens = Tokens(encoder.bundle, encoder.bundle.context_length)

    def blocks(self, side: int) -> tuple[int, ...]:
        """Return the widths of a picture's parts."""
        return tuple(p.shape[1] for p in self._parts(np.zeros((1, 3, side, side), np.float32)))

    def pictures(self, batch: Array) -> Floats:
        return np.concatenate(self._parts(batch), 1).astype(np.float32)

    def _parts(self, batch: Array) -> list[Array]:
        last, *stages, own = self._visual.run(image=np.asarray(batch, np.float32))
        means = [maps.mean((2, 3)) for maps in (last, *stages)]
        spreads = [maps.std((2, 3)) for maps in stages]
        return [*means, *spreads, own]

    def questions(self, texts: Sequence[str]) -> Floats:
        ids, mask = self._tokens(texts, whole=False)
        (words,) = self._textual.run(input_ids=ids, attention_mask=mask)
        there = mask[:, :, None] > 0
        mean = np.where(there, words, 0).sum(1) / there.sum(1)
        most = np.where(there, words, -np.inf).max(1)
        return np.concatenate([mean, most], 1).astype(np.float32)


def _inner_of(encoder: Encoder, threads: int) -> _Inner | None:
    """Return the inside of an encoder of the starter's architecture, None for others."""
    from mmsearch.encoders.inner import LAST_MAP, STAGES, WORDS, InnerTower, inner_name
    from mmsearch.encoders.onnx import OnnxEncoder

    if not isinstance(encoder, OnnxEncoder):
        return None
    visual, textual = encoder.bundle.visual, encoder.bundle.textual
    maps = [inner_name(visual, pattern) for pattern in (LAST_MAP, *STAGES)]
    words = inner_name(textual, WORDS)
    if words is None or None in maps:
        return None
    return _Inner(
        encoder,
        InnerTower(visual, [m for m in maps if m], own=True, threads=threads),
        InnerTower(textual, [words], threads=threads),
    )
