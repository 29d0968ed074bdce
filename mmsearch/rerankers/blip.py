"""`blip`: a text encoder that looks at a picture's patches, with a head for matching (ITM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import BlipForImageTextRetrieval

from mmsearch.encoders.pretrained import Loaded, load
from mmsearch.rerankers.pairs import PairReranker, Tensors, log_odds, name_of, tokens_of
from mmsearch.rerankers.patches import KeptPatches, compact
from mmsearch.rerankers.seeing import pixels_of

if TYPE_CHECKING:
    from PIL.Image import Image


class Blip:
    """BLIP (arXiv:2201.12086): the vision tower's patches are kept, the text looks at them."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def look(self, image: Image) -> Tensors:
        """Return the picture's pixels."""
        return pixels_of(self.loaded, image)

    def finish(self, rows: Sequence[Tensors]) -> list[Tensors]:
        """Return the patches of each picture's pixels, worked out together; in half precision,
        which takes half the room: 0.9 MB a picture of BLIP-base."""
        pixels = torch.cat([row["pixel_values"] for row in rows])
        patches = self.loaded.model.vision_model(pixel_values=pixels).last_hidden_state
        return [{"patches": compact(one[None])} for one in patches]

    def pair(self, text: str, seen: Any) -> Tensors:
        """Return the text's tokens and the picture's patches."""
        positions = self.loaded.model.config.text_config.max_position_embeddings
        return {**tokens_of(self.loaded, text, positions), **seen}

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of the head's class 1."""
        patches = pairs["patches"].to(self.loaded.model.dtype)
        states = self.loaded.model.text_encoder(
            input_ids=pairs["input_ids"], attention_mask=pairs["attention_mask"],
            encoder_hidden_states=patches,
            encoder_attention_mask=patches.new_ones(patches.shape[:2], dtype=torch.long),
        ).last_hidden_state  # fmt: skip
        return log_odds(self.loaded.model.itm_head(states[:, 0]), match=1)


def open_blip(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Any,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no BLIP for retrieval.
    """
    del tokens, regions
    loaded = load(BlipForImageTextRetrieval, argument, spec="blip:", model_type="blip",
                  threads=threads, device=device)  # fmt: skip
    blip = Blip(loaded)
    name = name_of("blip", loaded.folder)
    eye = KeptPatches(loaded, name, blip.look, blip.finish, threads, cache)
    return PairReranker("blip", blip, eye)
