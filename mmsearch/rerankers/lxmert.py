"""`lxmert`: two streams, words and a detector's regions, with the head for matching that it was
pretrained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LxmertForPreTraining

from mmsearch.encoders.pretrained import load
from mmsearch.rerankers.pairs import PairReranker, Tensors, WordsAndRegions, log_odds
from mmsearch.rerankers.seeing import Detected, regions_for


class Lxmert(WordsAndRegions):
    """LXMERT (arXiv:1908.07490), its cross-modality matching task."""

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of the head's class 1."""
        made = self.loaded.model(
            input_ids=pairs["input_ids"], attention_mask=pairs["attention_mask"],
            visual_feats=pairs["features"], visual_pos=pairs["boxes"],
        )  # fmt: skip
        return log_odds(made.cross_relationship_score, match=1)


def open_lxmert(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Path | None,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no LXMERT with its pretraining heads.
        BadRegions: there are no regions where it is told to look for them.
    """
    del tokens, cache
    files = regions_for("lxmert", regions)
    loaded = load(LxmertForPreTraining, argument, spec="lxmert:", model_type="lxmert",
                  threads=threads, device=device, processor=AutoTokenizer)  # fmt: skip
    width = int(loaded.model.config.visual_feat_dim)
    return PairReranker("lxmert", Lxmert(loaded), Detected(loaded, files, width, boxes=True))
