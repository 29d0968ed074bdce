"""The maps and words that an encoder's two towers compute on the way to their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.inner import InnerTower
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.tokens import Tokens
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image


class InnerEncoder:
    """The inner tensors of both towers of an encoder. Each tower is loaded when first used.

    Args:
        encoder: of the bundle.
        maps: names of the picture tower's tensors, (n, channels, side, side) each.
        words: name of the text tower's, (n, length, width).
        threads: for each tower; None: the cores that this process may use.
    """

    def __init__(
        self,
        encoder: OnnxEncoder,
        maps: Sequence[str],
        words: str,
        *,
        threads: int | None = None,
    ) -> None:
        self.encoder = encoder
        self._maps, self._word, self._threads = list(maps), words, threads
        self._visual: InnerTower | None = None
        self._textual: InnerTower | None = None
        bundle = encoder.bundle
        self._tokens = Tokens(bundle, bundle.context_length)

    def picture(self, place: str | bytes) -> Array:
        """Return the picture at a path or a `file:` URI (or of a part of a file), or of a file's
        bytes, prepared.

        Raises:
            BadPicture: it cannot be read.
        """
        from mmsearch.images import open_picture
        from mmsearch.sources import open_source

        if isinstance(place, str) and place.startswith("file:"):
            place = open_source(place)
        return self.prepare(open_picture(place, target=self.encoder.image_size).image)

    def prepare(self, image: Image) -> Array:
        """Return one RGB picture as the picture tower takes it."""
        return self.encoder.prepare(image)

    def maps(self, batch: Array) -> list[Array]:
        """Return the picture tower's tensors for (n, 3, S, S) prepared pictures.

        Raises:
            ModelUnavailable: the tower is broken, or has no such tensor.
        """
        if self._visual is None:
            path = self.encoder.bundle.visual
            self._visual = InnerTower(path, self._maps, threads=self._threads)
        return self._visual.run(image=np.asarray(batch))

    def words(self, texts: Sequence[str]) -> tuple[Array, Array, Array]:
        """Return (n, length, width) float32, the ids and the mask, (n, length), 1 on tokens.

        Raises:
            ModelUnavailable: the tower is broken, or has no such tensor.
        """
        ids, mask = self._tokens(texts, whole=False)
        return self.words_of(ids, mask), ids, mask

    def words_of(self, ids: Array, mask: Array) -> Array:
        """Return (n, length, width) float32 for token ids and their mask. Raises as `words`."""
        if self._textual is None:
            path = self.encoder.bundle.textual
            self._textual = InnerTower(path, [self._word], threads=self._threads)
        (hidden,) = self._textual.run(input_ids=ids, attention_mask=mask)
        return hidden

    def mask_id(self) -> int:
        """Return the id of the token that stands for a hidden word.

        Raises:
            ModelUnavailable: the tokenizer has none.
        """
        found = self._tokens.id_of("[MASK]")
        if found is None:
            raise ModelUnavailable(
                f"the tokenizer of {self.encoder.bundle.folder} has no [MASK], which masked words "
                "take: set mlm_weight to 0"
            )
        return found
