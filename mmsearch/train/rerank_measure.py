"""What re-ranking gains on held-out pairs, and how much of its score is to be added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mmsearch.train.figures import figures
from mmsearch.train.fusion_model import Encoded, Fusion
from mmsearch.train.measure import Ranks, ranks_of
from mmsearch.train.pairs import Ids
from mmsearch.train.rerank_data import RerankSet

PICTURES_AT_ONCE = 64
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the re-ranker beside the base
SHARES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1)  # of the fusion in it
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reranked:
    """The best candidates of some captions, best first, and how the re-ranker scores them.

    rows: (q,) captions. candidates; base: cosines; aligned, fused: both parts of the
    re-ranker's score; (q, c).
    """

    rows: Ids
    candidates: Ids
    base: Scores
    aligned: Scores
    fused: Scores

    def ranks(self, data: RerankSet, before: Ranks, weight: float, share: float) -> Ids:
        """Return (q,), the rank of each caption's picture if weight * (aligned + share * fused)
        is added.

        Ties count against it; a picture below the candidates keeps its rank.
        """
        groups = data.pairs.groups
        relevant = groups[self.candidates] == groups[data.pairs.owner[self.rows]][:, None]
        scores = self.base + weight * (self.aligned + share * self.fused)
        best = np.where(relevant, scores, -np.inf).max(1)
        ahead = ((scores >= best[:, None]) & ~relevant).sum(1) + 1
        return np.where(relevant.any(1), ahead, before.text_to_image[self.rows])


def base_ranks(data: RerankSet) -> Ranks:
    """Return the ranks without re-ranking."""
    return ranks_of(data.images, data.texts, data.pairs)


def rerank(net: Fusion, data: RerankSet, rows: Ids, candidates: int) -> Reranked:
    """Return how a re-ranker, in eval mode, scores the base's best pictures of some captions."""
    was = net.training
    net.eval()
    candidates = min(candidates, len(data.images))
    fused = np.empty((len(rows), candidates), np.float32)
    base, aligned = np.empty_like(fused), np.empty_like(fused)
    chosen = np.empty((len(rows), candidates), np.int64)
    with torch.inference_mode():
        parts = [
            net.pictures(data.plain(slice(i, i + PICTURES_AT_ONCE)))
            for i in range(0, len(data.images), PICTURES_AT_ONCE)
        ]
        pictures = Encoded(*(torch.cat(part) for part in zip(*parts, strict=True)))
        for at, row in enumerate(rows):
            scores = data.texts[row] @ data.images.T
            best = np.argsort(-scores, kind="stable")[:candidates]
            chosen[at], base[at] = best, scores[best]
            text = net.texts(*data.words.batch([int(row)]))
            seen = pictures.rows(torch.from_numpy(best))
            aligned[at] = (text.pooled @ seen.pooled.T)[0].numpy()
            fused[at] = net.fused(text, seen)[0][0].numpy()
    net.train(was)
    return Reranked(rows, chosen, base, aligned, fused)


@dataclass(frozen=True, slots=True)
class Mix:
    """How the scores are added: base + weight * (aligned + share * fused)."""

    weight: float
    share: float


def best_mix(found: Reranked, data: RerankSet, before: Ranks, k: int) -> tuple[Mix, float]:
    """Return the mix with the highest R@k (of equals, the highest mean reciprocal rank), and that
    R@k in per cent."""

    def quality(mix: Mix) -> tuple[float, float]:
        ranks = found.ranks(data, before, mix.weight, mix.share)
        return float((ranks <= k).mean() * 100), float((1 / ranks).mean())

    best = max((Mix(w, s) for w in WEIGHTS for s in SHARES), key=quality)
    return best, quality(best)[0]


def reranked(found: Reranked, data: RerankSet, before: Ranks, mix: Mix) -> Ranks:
    """Return the ranks of all captions with re-ranking; those of pictures stay the base's."""
    ranks = found.ranks(data, before, mix.weight, mix.share)
    return Ranks(ranks, before.image_to_text, before.owner)


def told(ranks: Ranks) -> dict[str, float]:
    """Return R@1, R@5, R@10 in per cent and the median rank, text->image."""
    return figures(ranks.text_to_image)
