"""The second stage of retrieval: the encoder's best candidates, looked at again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from index_store import Collection
from mmsearch.encoders import load_encoder
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.tapped import InnerEncoder
from mmsearch.errors import ModelUnavailable
from mmsearch.rerankers import RERANKERS
from mmsearch.search import Engine
from mmsearch.types import Encoder, Hit, Query, Reranker

CANDIDATES = 50
AT_ONCE = 10  # candidates scored between two looks at the clock
PART = "rerank"  # in Hit.parts

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Second:
    """How hits are looked at again.

    candidates: how many. budget_ms: for one query; None: as long as it takes. The budget is
    looked at between batches, so the last one may end after it.
    """

    reranker: Reranker
    candidates: int = CANDIDATES
    budget_ms: float | None = None


class RerankingEngine(Engine):
    """An engine whose hits are re-ranked.

    Args:
        collection: to search.
        encoder: of its vectors.
        second: the re-ranker and its bounds.
        say: gets a line where a query's hits stay as they were.

    Raises:
        SpaceMismatch: the collection holds vectors of another encoder.
    """

    def __init__(
        self, collection: Collection, encoder: Encoder, second: Second, say: Say = lambda _: None
    ) -> None:
        super().__init__(collection, encoder)
        self.second, self._say = second, say

    def search_batch(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of each query, re-ranked; of several parts as they were. Raises as
        `Engine.search`."""
        wider = [replace(q, k=max(q.k, self.second.candidates)) for q in queries]
        found = super().search_batch(wider)
        return [self._again(query, hits) for query, hits in zip(queries, found, strict=True)]

    def _again(self, query: Query, hits: list[Hit]) -> list[Hit]:
        if query.parts:
            self._say("a question of several parts is not re-ranked")
            return hits[: query.k]
        again, missed = rerank(query, hits, self.second)
        if missed:
            self._say(f"{missed} of the candidates could not be looked at again")
        return again[: query.k]


def rerank(query: Query, hits: Sequence[Hit], second: Second) -> tuple[list[Hit], int]:
    """Return the hits in their new order, and how many the re-ranker could not score.

    The score is the encoder's plus `weight` times the re-ranker's, counted from the median of
    the candidates: so a hit that was not looked at, because the time was over or its file is
    gone, counts as a middling one and keeps its score.
    """
    first = list(hits[: second.candidates])
    started = time.perf_counter()
    scores = np.full(len(first), np.nan, np.float32)
    seen = 0
    while seen < len(first):
        spent = 1_000 * (time.perf_counter() - started)
        if second.budget_ms is not None and spent >= second.budget_ms:
            break
        part = slice(seen, seen + AT_ONCE)
        scores[part] = second.reranker.score(query, [hit.item for hit in first[part]])
        seen = min(seen + AT_ONCE, len(first))
    known = ~np.isnan(scores)
    missed = int((~known[:seen]).sum())
    if known.sum() < 2:
        return list(hits), missed
    weight = second.reranker.weight
    if weight is None:
        weight = _spread(np.array([h.score for h in first])[known]) / _spread(scores[known])
    gained = weight * (scores - np.median(scores[known]))
    changed = [
        replace(hit, score=hit.score + float(gain), parts={**hit.parts, PART: float(gain)})
        if told
        else hit
        for hit, gain, told in zip(first, gained, known, strict=True)
    ]
    order = sorted([*changed, *hits[len(first) :]], key=lambda hit: -hit.score)
    return [replace(hit, rank=n) for n, hit in enumerate(order, start=1)], missed


def load_reranker(
    spec: str, model: str, *, threads: int | None = None, device: str | None = None
) -> Reranker:
    """Return the re-ranker that a spec names.

    Args:
        spec: `fusion`, `fusion:DIR`, or what a third party has registered.
        model: the spec of the collection's encoder, whose tokens a re-ranker may read.
        threads: for each graph; None: the cores that this process may use.
        device: for those that torch runs.

    Raises:
        UnknownName: no re-ranker has that name.
        MissingExtra: it needs an optional part of mmsearch.
        ModelUnavailable: its files are missing or broken, or it does not fit the encoder.
    """
    name, _, argument = spec.partition(":")
    factory = RERANKERS.make(name)

    def tokens(maps: Sequence[str], words: str) -> tuple[InnerEncoder, str]:
        encoder = load_encoder(model, threads=threads)
        if not isinstance(encoder, OnnxEncoder):
            raise ModelUnavailable(
                f"{spec} reads the tokens of an ONNX model, which {model} is not; name another "
                "re-ranker"
            )
        return InnerEncoder(encoder, maps, words, threads=threads), encoder.space.name

    return factory(argument, tokens=tokens, threads=threads, device=device)


def _spread(values: np.ndarray) -> float:
    return float(values.std()) or 1.0
