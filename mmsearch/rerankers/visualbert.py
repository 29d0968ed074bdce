"""`visualbert`: one stream over words and a detector's regions, with the head for matching that it
was pretrained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, VisualBertForPreTraining

from mmsearch.encoders.pretrained import load
from mmsearch.rerankers.pairs import PairReranker, Tensors, WordsAndRegions, log_odds
from mmsearch.rerankers.seeing import Detected, regions_for


class VisualBert(WordsAndRegions):
    """VisualBERT (arXiv:1908.03557), its sentence-image prediction.

    It was trained to tell whether the second of two captions belongs to the picture; here the
    question is the only one.
    """

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of the head's class 0, which is that they belong together."""
        features = pairs["features"]
        there = features.new_ones(features.shape[:2])
        made = self.loaded.model(
            input_ids=pairs["input_ids"], attention_mask=pairs["attention_mask"],
            visual_embeds=features, visual_attention_mask=there,
            visual_token_type_ids=there.long(),
        )  # fmt: skip
        return log_odds(made.seq_relationship_logits, match=0)


def open_visualbert(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Path | None,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no VisualBERT with its pretraining heads.
        BadRegions: there are no regions where it is told to look for them.
    """
    del tokens, cache
    files = regions_for("visualbert", regions)
    loaded = load(VisualBertForPreTraining, argument, spec="visualbert:", model_type="visual_bert",
                  threads=threads, device=device, processor=AutoTokenizer)  # fmt: skip
    width = int(loaded.model.config.visual_embedding_dim)
    eye = Detected(loaded, files, width, boxes=False)
    return PairReranker("visualbert", VisualBert(loaded), eye)
