"""`bridgetower`: two towers with bridges into a cross-modal encoder, with a head for matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import BridgeTowerForImageAndTextRetrieval

from mmsearch.encoders.pretrained import Loaded, load
from mmsearch.rerankers.pairs import PairReranker, Tensors, log_odds, tokens_of
from mmsearch.rerankers.seeing import Pixels, pixels_of, side_of

if TYPE_CHECKING:
    from PIL.Image import Image


class BridgeTower:
    """BridgeTower (arXiv:2206.08657), with its image-text matching head."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def look(self, image: Image) -> Tensors:
        """Return the picture's pixels."""
        return pixels_of(self.loaded, image, "pixel_values", "pixel_mask")

    def pair(self, text: str, seen: Any) -> Tensors:
        """Return the text's tokens and the picture's pixels."""
        config = self.loaded.model.config.text_config
        # RoBERTa counts positions from pad_token_id + 1.
        positions = config.max_position_embeddings - (config.pad_token_id or 0) - 1
        return {**tokens_of(self.loaded, text, positions), **seen}

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of the head's class 1."""
        return log_odds(self.loaded.model(**pairs).logits, match=1)


def open_bridgetower(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Any,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no BridgeTower for retrieval.
    """
    del tokens, regions, cache
    loaded = load(BridgeTowerForImageAndTextRetrieval, argument, spec="bridgetower:",
                  model_type="bridgetower", threads=threads, device=device)  # fmt: skip
    tower = BridgeTower(loaded)
    return PairReranker(
        "bridgetower", tower, Pixels(tower.look, side_of(loaded.processor), threads)
    )
