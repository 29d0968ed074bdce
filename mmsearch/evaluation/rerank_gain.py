"""What a re-ranker gains on pairs, both ways, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from index_store.types import Kind, Vectors
from mmsearch.evaluation.embedding import Embedded, Progress
from mmsearch.evaluation.ranks import Relevance
from mmsearch.hubness import Hubs, pool_of
from mmsearch.metrics import RESAMPLES
from mmsearch.reranking import Second, rerank
from mmsearch.sources import place_of
from mmsearch.types import Hit, Item, Query, Reranker

KS = (1, 5, 10)
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of --rerank-weight, tried beside the one asked for


@dataclass(frozen=True, slots=True)
class Gain:
    """One direction: R@k (hit rate) in per cent without and with re-ranking, over the same queries.

    change: for each k the difference in points and its 95 % interval, a paired bootstrap over
    pictures. by_weight: R@1 with other weights, from the same scores. first_ms: of queries whose
    candidates were mostly met for the first time, again_ms: of the others; medians.
    """

    queries: int
    without: dict[int, float]
    reranked: dict[int, float]
    change: dict[int, tuple[float, float, float]]
    by_weight: dict[float, float]
    first_ms: float | None
    again_ms: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "queries": self.queries,
            "without": {f"R@{k}": round(v, 4) for k, v in self.without.items()},
            "reranked": {f"R@{k}": round(v, 4) for k, v in self.reranked.items()},
            "change": {f"R@{k}": [round(x, 4) for x in v] for k, v in self.change.items()},
            "R@1_by_weight": {f"{w:g}": round(v, 4) for w, v in self.by_weight.items()},
            "first_ms": self.first_ms,
            "again_ms": self.again_ms,
        }

    def as_text(self) -> str:
        """Return it as a few lines for people."""
        lines = []
        for k in KS:
            d, low, high = self.change[k]
            lines.append(
                f"  R@{k:<2} {self.without[k]:5.1f} -> {self.reranked[k]:5.1f}   "
                f"{d:+.1f} [{low:+.1f}, {high:+.1f}]"
            )
        tried = ", ".join(f"{w:g}: {value:.1f}" for w, value in self.by_weight.items())
        times = [("new candidates", self.first_ms), ("known candidates", self.again_ms)]
        told = [f"{ms:.0f} ms ({what})" for what, ms in times if ms is not None]
        return "\n".join(
            [*lines, f"  R@1 by --rerank-weight  {tried}", f"  a query: {', '.join(told)}"]
        )


@dataclass(frozen=True, slots=True)
class RerankGain:
    """What a re-ranker changes, text to picture and picture to text."""

    name: str
    candidates: int
    weight: float
    text_to_image: Gain
    image_to_text: Gain

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "reranker": self.name,
            "candidates": self.candidates,
            "weight": self.weight,
            "text_to_image": self.text_to_image.as_dict(),
            "image_to_text": self.image_to_text.as_dict(),
        }

    def as_text(self) -> str:
        """Return it as lines for people."""
        best = f"re-ranked by {self.name}, the best {self.candidates} of each of"
        return "\n".join([
            f"{best} {self.text_to_image.queries:,} captions, text -> image:",
            self.text_to_image.as_text(),
            f"{best} {self.image_to_text.queries:,} pictures, image -> text:",
            self.image_to_text.as_text(),
        ])  # fmt: skip


def rerank_gain(
    embedded: Embedded, second: Second, *, resamples: int = RESAMPLES, seed: int = 0,
    progress: Progress | None = None,
) -> RerankGain:  # fmt: skip
    """Return what re-ranking changes on pairs, both ways.

    The candidates are those of `mmsearch search`: of pictures the captions less what these are
    like any picture (`mmsearch.hubness`).

    Args:
        embedded: pairs with the encoder's vectors.
        second: the re-ranker and its bounds.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: told how many queries are done.

    Raises:
        ModelUnavailable, BadRegions: as the re-ranker.
    """
    pairs = embedded.pairs
    pictures = [replace(s.item, uri=place_of(s)) for s in pairs.pictures]
    texts = [Item(f"#{n}", "text", text=text) for n, text in enumerate(pairs.texts)]
    rows = pairs.described()
    hubness = Hubs({"image": embedded.images, "text": embedded.texts})["text"]
    both = [
        _Direction("image", [Query(text) for text in pairs.texts], embedded.texts, pictures,
                   embedded.images, pairs.text_to_image(), pairs.text_clusters(), None),
        _Direction("text", [Query(image=pictures[p].uri, kind="text") for p in rows],
                   embedded.images[rows], texts, embedded.texts, pairs.image_to_text(),
                   pairs.image_clusters(), None if hubness is None else hubness(embedded.texts)),
    ]  # fmt: skip
    gains = [_gain(one, second, resamples, seed, progress) for one in both]
    return RerankGain(second.reranker.name, second.candidates, second.weight, *gains)


@dataclass(frozen=True, slots=True)
class _Direction:
    """Queries with their vectors, what is searched with its vectors, and what answers what.

    clusters: what each query is drawn with by the bootstrap. off: what goes off the cosines of
    what is searched, (items,).
    """

    wanted: Kind
    queries: Sequence[Query]
    vectors: Vectors
    items: Sequence[Item]
    found: Vectors
    relevant: Relevance
    clusters: Sequence[str]
    off: Vectors | None

    def hits(self, candidates: int) -> Iterator[tuple[Query, list[Hit], set[str]]]:
        """Yield each query, its best candidates, and the keys of what is relevant to it."""
        for n, query in enumerate(self.queries):
            scores = self.found @ self.vectors[n]
            order = np.argsort(-scores, kind="stable")
            if self.off is not None:
                order = order[: pool_of(candidates)]
                scores = scores - self.off
                order = order[np.argsort(-scores[order], kind="stable")]
            best = order[:candidates].tolist()
            hits = [Hit(r, self.items[i], float(scores[i])) for r, i in enumerate(best, start=1)]
            yield query, hits, {self.items[i].key for i in self.relevant.of(n)}


class _Remembered:
    """A re-ranker that is asked once for each hit of a query, whatever the weights tried."""

    def __init__(self, reranker: Reranker) -> None:
        self.name, self.weight, self._reranker = reranker.name, reranker.weight, reranker
        self._known: dict[tuple[str, ...], Vectors] = {}

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        keys = tuple(item.key for item in items)
        if keys not in self._known:
            self._known[keys] = self._reranker.score(query, items)
        return self._known[keys]


def _gain(
    direction: _Direction, second: Second, resamples: int, seed: int, progress: Progress | None
) -> Gain:
    first: list[float] = []
    ranks: dict[float, list[float]] = {w: [] for w in sorted({*WEIGHTS, second.weight})}
    times: dict[bool, list[float]] = {True: [], False: []}
    met: set[str] = set()
    for query, hits, wanted in direction.hits(second.candidates):
        once = replace(second, reranker=_Remembered(second.reranker))
        started = time.perf_counter()
        rerank(query, hits, once)
        keys = {hit.item.key for hit in hits}
        new = direction.wanted == "text" or len(keys - met) > len(keys) / 2
        times[new].append(1_000 * (time.perf_counter() - started))
        met |= keys
        first.append(_rank(hits, wanted))
        for weight, own in ranks.items():
            own.append(_rank(rerank(query, hits, replace(once, weight=weight))[0], wanted))
        if progress and len(first) % 20 == 0:
            progress(f"re-ranked {direction.wanted}s", len(first), len(direction.queries))
    before, after = np.array(first), np.array(ranks[second.weight])
    numbers = np.unique(np.array(direction.clusters), return_inverse=True)[1]
    return Gain(
        len(first),
        {k: 100 * float((before <= k).mean()) for k in KS},
        {k: 100 * float((after <= k).mean()) for k in KS},
        {k: _change(before <= k, after <= k, numbers, resamples, seed) for k in KS},
        {w: 100 * float((np.array(own) <= 1).mean()) for w, own in ranks.items()},
        *(float(np.median(times[new])) if times[new] else None for new in (True, False)),
    )  # fmt: skip


def _rank(hits: list[Hit], wanted: set[str]) -> float:
    return next((h.rank for h in hits if h.item.key in wanted), np.inf)


def _change(
    before: np.ndarray, after: np.ndarray, clusters: np.ndarray, resamples: int, seed: int
) -> tuple[float, float, float]:
    change = 100 * (after.astype(float) - before)
    n = int(clusters.max()) + 1
    sums, counts = np.bincount(clusters, change, minlength=n), np.bincount(clusters, minlength=n)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    means = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(change.mean()), float(low), float(high)
