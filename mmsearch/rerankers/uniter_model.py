"""UNITER (arXiv:1909.11740): the small part of it that is not BERT.

BERT's word embeddings, layers and pooler are transformers' own. The tensors' names are those of
the published checkpoints, so that these load as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel

BOX = 7  # left, top, right, bottom, width, height, area, of the picture's


class ImageEmbeddings(nn.Module):
    """A region as a vector like a word's: of its features, its box and its kind of token."""

    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.img_linear = nn.Linear(width, size)
        self.img_layer_norm = nn.LayerNorm(size, eps=eps)
        self.pos_linear = nn.Linear(BOX, size)
        self.pos_layer_norm = nn.LayerNorm(size, eps=eps)
        self.LayerNorm = nn.LayerNorm(size, eps=eps)

    def forward(
        self, features: torch.Tensor, boxes: torch.Tensor, kind: torch.Tensor
    ) -> torch.Tensor:
        """Return (pairs, n, hidden) for features (pairs, n, width), boxes (pairs, n, 7) and the
        embedding (hidden,) of the regions' token type."""
        seen = self.img_layer_norm(self.img_linear(features))
        placed = self.pos_layer_norm(self.pos_linear(boxes))
        made: torch.Tensor = self.LayerNorm(seen + placed + kind)
        return made


class Uniter(nn.Module):
    """UNITER with its heads for matching.

    Args:
        config: transformers' of the BERT in it.
        width: of a region's features.
        ranks: whether it has the head of retrieval (`rank_output`) or that of pretraining
            (`itm_output`).
    """

    def __init__(self, config: BertConfig, width: int, *, ranks: bool) -> None:
        super().__init__()
        self.config, self.width, self.ranks = config, width, ranks
        self.uniter = BertModel(config)
        self.uniter.img_embeddings = ImageEmbeddings(width, config)
        name, classes = ("rank_output", 1) if ranks else ("itm_output", 2)
        setattr(self, name, nn.Linear(config.hidden_size, classes))

    def forward(
        self, words: torch.Tensor, features: torch.Tensor, boxes: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits of the head: (pairs, 1), or (pairs, 2), of which 1 is a match.

        Args:
            words: (pairs, length) ids, [CLS] first.
            features: (pairs, n, width).
            boxes: (pairs, n, 4), left, top, right, bottom, 0 to 1.
        """
        bert = self.uniter
        side = boxes[..., 2:] - boxes[..., :2]
        seven = torch.cat([boxes, side, side.prod(-1, keepdim=True)], -1)
        kind = bert.embeddings.token_type_embeddings.weight[1]  # 0 is the words'
        seen = bert.img_embeddings(features, seven, kind)
        # Regions have no positions: their boxes say where they are.
        both = torch.cat([bert.embeddings(input_ids=words), seen], 1)
        pooled = bert.pooler(bert.encoder(both).last_hidden_state)
        logits: torch.Tensor = (self.rank_output if self.ranks else self.itm_output)(pooled)
        return logits
