"""Masked words with the picture in sight: what is hidden in a caption is to be seen there.

BERT's task (arXiv:1810.04805 section 3.1) as LXMERT and UNITER have it: the text tower reads the
caption with its gaps, the fusion looks at the picture, and a head names the words.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.encoders.tapped import InnerEncoder
from mmsearch.train.fusion_model import Encoded, Fusion
from mmsearch.train.pairs import Ids
from mmsearch.train.rerank_data import Words

MASKED = 0.15


class MaskedWords:
    """The term and its head over the words of the training captions, thrown away afterwards.

    Args:
        inner: of the base; its tokenizer must know a mask.
        words: of the training captions.
        width: of the re-ranker.

    Raises:
        ModelUnavailable: the tokenizer has no mask.
    """

    def __init__(self, inner: InnerEncoder, words: Words, width: int) -> None:
        self._inner, self._words = inner, words
        self._mask = inner.mask_id()
        known = np.unique(words.ids)
        self._ends = {int(words.ids[0]), int(words.ids[words.starts[1] - 1])}
        self._number = np.full(int(known.max()) + 1, -1)
        self._number[known] = np.arange(len(known))
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, len(known))
        )

    def loss(self, net: Fusion, captions: Ids, pictures: Encoded) -> Tensor:
        """Return the mean cross-entropy of the hidden words of n captions of n pictures.

        Which words are hidden is drawn from torch's own generator.
        """
        ids, mask = self._words.tokens(captions)
        free = (mask > 0) & ~np.isin(ids, list(self._ends))
        drawn = torch.rand(ids.shape).numpy()
        drawn[~free] = 2
        asked = (drawn < MASKED) | ((drawn == drawn.min(1, keepdims=True)) & free)
        shown = np.where(asked, self._mask, ids)
        hidden = torch.from_numpy(self._inner.words_of(shown, mask))
        texts = net.texts(hidden, torch.from_numpy(mask > 0))
        found = self.head(net.words_with(texts, pictures)[torch.from_numpy(asked)])
        return F.cross_entropy(found, torch.from_numpy(self._number[ids[asked]]))
