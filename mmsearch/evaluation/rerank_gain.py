"""What a re-ranker gains on pairs, text to picture, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmsearch.evaluation.embedding import Embedded, Progress
from mmsearch.metrics import RESAMPLES
from mmsearch.reranking import Second, rerank
from mmsearch.sources import place_of
from mmsearch.types import Hit, Query

KS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class RerankGain:
    """R@k in per cent without and with re-ranking, over the same queries.

    change: for each k the difference in points and its 95 % interval, a paired bootstrap over
    pictures. first_ms: of queries whose candidates were met for the first time, again_ms: of the
    others; medians.
    """

    name: str
    candidates: int
    queries: int
    without: dict[int, float]
    reranked: dict[int, float]
    change: dict[int, tuple[float, float, float]]
    first_ms: float | None
    again_ms: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "reranker": self.name,
            "candidates": self.candidates,
            "queries": self.queries,
            "without": {f"R@{k}": round(v, 4) for k, v in self.without.items()},
            "reranked": {f"R@{k}": round(v, 4) for k, v in self.reranked.items()},
            "change": {f"R@{k}": [round(x, 4) for x in v] for k, v in self.change.items()},
            "first_ms": self.first_ms,
            "again_ms": self.again_ms,
        }

    def as_text(self) -> str:
        """Return it as a few lines for people."""
        lines = [
            f"re-ranked by {self.name}, the best {self.candidates} of each of {self.queries:,} "
            "captions, text -> image:",
        ]
        for k in KS:
            d, low, high = self.change[k]
            lines.append(
                f"  R@{k:<2} {self.without[k]:5.1f} -> {self.reranked[k]:5.1f}   "
                f"{d:+.1f} [{low:+.1f}, {high:+.1f}]"
            )
        times = [("new pictures", self.first_ms), ("known pictures", self.again_ms)]
        told = [f"{ms:.0f} ms ({what})" for what, ms in times if ms is not None]
        return "\n".join([*lines, f"  a query: {', '.join(told)}"])


def rerank_gain(
    embedded: Embedded, second: Second, *, resamples: int = RESAMPLES, seed: int = 0,
    progress: Progress | None = None,
) -> RerankGain:  # fmt: skip
    """Return what re-ranking changes on pairs.

    Args:
        embedded: pairs with the encoder's vectors.
        second: the re-ranker and its bounds.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: told how many queries are done.
    """
    pairs = embedded.pairs
    items = [replace(s.item, uri=place_of(s)) for s in pairs.pictures]
    ranks: list[float] = []
    first: list[float] = []
    times: dict[bool, list[float]] = {True: [], False: []}
    met: set[int] = set()
    for n, (text, own) in enumerate(zip(pairs.texts, pairs.owners, strict=True), start=1):
        scores = embedded.texts[n - 1] @ embedded.images.T
        order = np.argsort(-scores, kind="stable")[: second.candidates].tolist()
        hits = [Hit(r, items[i], float(scores[i])) for r, i in enumerate(order, start=1)]
        started = time.perf_counter()
        again, _ = rerank(Query(text), hits, second)
        new = sum(i not in met for i in order) > len(order) / 2
        times[new].append(1_000 * (time.perf_counter() - started))
        met.update(order)
        wanted = {items[i].key for i in own}
        first.append(_rank(hits, wanted))
        ranks.append(_rank(again, wanted))
        if progress and n % 20 == 0:
            progress("re-ranked", n, len(pairs.texts))
    before, after = np.array(first), np.array(ranks)
    owners = [own[0] for own in pairs.owners]
    return RerankGain(
        second.reranker.name, second.candidates, len(ranks),
        {k: 100 * float((before <= k).mean()) for k in KS},
        {k: 100 * float((after <= k).mean()) for k in KS},
        {k: _change(before <= k, after <= k, owners, resamples, seed) for k in KS},
        *(float(np.median(times[new])) if times[new] else None for new in (True, False)),
    )  # fmt: skip


def _rank(hits: list[Hit], wanted: set[str]) -> float:
    return next((h.rank for h in hits if h.item.key in wanted), np.inf)


def _change(
    before: np.ndarray, after: np.ndarray, owners: list[int], resamples: int, seed: int
) -> tuple[float, float, float]:
    change = 100 * (after.astype(float) - before)
    n = max(owners) + 1
    sums, counts = np.bincount(owners, change, minlength=n), np.bincount(owners, minlength=n)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    means = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(change.mean()), float(low), float(high)
