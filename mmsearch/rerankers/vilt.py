"""`vilt`: one transformer over a text's words and a picture's patches, with a head for ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import ViltForImageAndTextRetrieval

from mmsearch.encoders.pretrained import Loaded, load
from mmsearch.rerankers.pairs import PairReranker, Tensors, tokens_of
from mmsearch.rerankers.seeing import Pixels, pixels_of, side_of

if TYPE_CHECKING:
    from PIL.Image import Image


class Vilt:
    """ViLT (arXiv:2102.03334), fine-tuned for retrieval: a single stream without a detector."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def look(self, image: Image) -> Tensors:
        """Return the picture's pixels; they are of its own shape."""
        return pixels_of(self.loaded, image, "pixel_values", "pixel_mask")

    def pair(self, text: str, seen: Any) -> Tensors:
        """Return the text's tokens and the picture's pixels."""
        return {
            **tokens_of(self.loaded, text, self.loaded.model.config.max_position_embeddings),
            **seen,
        }

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) logits of the one class, that they match."""
        logits: torch.Tensor = self.loaded.model(**pairs).logits
        return logits[:, 0]


def open_vilt(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Any,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no ViLT for retrieval.
    """
    del tokens, regions, cache
    loaded = load(ViltForImageAndTextRetrieval, argument, spec="vilt:", model_type="vilt",
                  threads=threads, device=device)  # fmt: skip
    vilt = Vilt(loaded)
    return PairReranker("vilt", vilt, Pixels(vilt.look, side_of(loaded.processor), threads))
