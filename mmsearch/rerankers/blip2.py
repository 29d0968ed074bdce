"""`blip2`: a querying transformer between a frozen vision tower and the text, with a head for
matching (ITM)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Blip2ForImageTextRetrieval

from mmsearch.encoders.pretrained import load
from mmsearch.rerankers.blip import Blip
from mmsearch.rerankers.pairs import PairReranker, Tensors, log_odds, name_of, tokens_of
from mmsearch.rerankers.patches import KeptPatches


class Blip2(Blip):
    """BLIP-2 (arXiv:2301.12597): learnt queries and the text look at the picture's patches."""

    def pair(self, text: str, seen: Any) -> Tensors:
        """Return the text's tokens and the picture's patches."""
        positions = self.loaded.model.config.qformer_config.max_position_embeddings
        return {**tokens_of(self.loaded, text, positions), **seen}

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of the head's class 1, its logits averaged over the queries."""
        model = self.loaded.model
        # transformers keeps the Q-Former in float32 where the vision tower is in half precision.
        patches = pairs["patches"].to(next(model.qformer.parameters()).dtype)
        n = len(patches)
        queries = model.query_tokens.expand(n, -1, -1)
        asked = pairs["attention_mask"].new_ones(n, queries.shape[1])
        states = model.qformer(
            query_embeds=model.embeddings(input_ids=pairs["input_ids"], query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=torch.cat([asked, pairs["attention_mask"]], dim=1),
            encoder_hidden_states=patches,
            encoder_attention_mask=patches.new_ones(patches.shape[:2], dtype=torch.long),
        ).last_hidden_state.to(model.itm_head.weight.dtype)
        logits = model.itm_head(states[:, : queries.shape[1]]).mean(dim=1)
        return log_odds(logits, match=1)


def open_blip2(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Any,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no BLIP-2 for retrieval.
    """
    del tokens, regions
    loaded = load(Blip2ForImageTextRetrieval, argument, spec="blip2:", model_type="blip-2",
                  threads=threads, device=device)  # fmt: skip
    blip = Blip2(loaded)
    name = name_of("blip2", loaded.folder)
    eye = KeptPatches(loaded, name, blip.look, blip.finish, threads, cache)
    return PairReranker("blip2", blip, eye)
