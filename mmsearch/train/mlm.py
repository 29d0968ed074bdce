"""Masked language modelling beside the contrastive loss: BERT, arXiv:1810.04805 section 3.1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.train.trainable import Language

MASKED = 0.15
IGNORED = -100


class WordHead(nn.Module):
    """From a token's vector to scores over the vocabulary, tied to the tower's word vectors.

    It is thrown away after training; only what it taught the tower stays.
    """

    def __init__(self, language: Language) -> None:
        super().__init__()
        vocabulary, width = language.words.shape
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Return (k, vocabulary) for (k, width)."""
        out: Tensor = self.norm(F.gelu(self.dense(hidden))) @ words.T + self.bias
        return out


def mask_tokens(
    ids: Tensor, mask: Tensor, language: Language, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return ids with some hidden, and what they were; IGNORED where nothing is asked.

    Of 15 % of the tokens 80 % become [MASK], 10 % a random word, 10 % stay. Each batch has
    one at least, if it has any word at all.

    Args:
        ids: (n, length).
        mask: (n, length); 0 on padding.
        language: of the text tower.
        generator: on the CPU.
    """
    special = torch.tensor(sorted(language.special_ids), device=ids.device)
    free = (mask > 0) & ~torch.isin(ids, special)
    drawn = torch.rand(ids.shape, generator=generator).to(ids.device)
    drawn = drawn.masked_fill(~free, 2.0)
    asked = (drawn < MASKED) | ((drawn == drawn.min()) & free)
    how = torch.rand(ids.shape, generator=generator).to(ids.device)
    others = torch.randint(len(language.words), ids.shape, generator=generator).to(ids.device)
    shown = torch.where(asked & (how < 0.8), torch.full_like(ids, language.mask_id), ids)
    shown = torch.where(asked & (how >= 0.9), others.to(ids.dtype), shown)
    return shown, ids.masked_fill(~asked, IGNORED)


def mlm_loss(
    tokens: dict[str, Tensor], language: Language, head: WordHead, generator: torch.Generator
) -> Tensor:
    """Return the mean cross-entropy over the hidden tokens of a batch.

    Args:
        tokens: input_ids and attention_mask, (n, length), and what else the tower takes.
        language: of the text tower.
        head: scores the words.
        generator: on the CPU; decides what is hidden.
    """
    shown, asked = mask_tokens(tokens["input_ids"], tokens["attention_mask"], language, generator)
    hidden = language.hidden({**tokens, "input_ids": shown})
    chosen = asked != IGNORED
    if not chosen.any():
        return hidden.sum() * 0
    scores = head(hidden[chosen].float(), language.words)
    return F.cross_entropy(scores, asked[chosen])
