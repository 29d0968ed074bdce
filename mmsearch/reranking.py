"""The second stage of retrieval: the encoder's best candidates, looked at again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index_store import Collection
from mmsearch.encoders import load_encoder
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.tapped import InnerEncoder
from mmsearch.errors import ModelUnavailable
from mmsearch.rerankers import RERANKERS
from mmsearch.rerankers.token_cache import TokenCache
from mmsearch.search import Engine, check_query, names_of
from mmsearch.types import Encoder, Hit, Part, Query, Reranker

CANDIDATES = 50
AT_ONCE = 10  # candidates scored between two looks at the clock
PART, VECTOR = "rerank", "vector"  # in Hit.parts

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Second:
    """How hits are looked at again.

    candidates: how many. budget_ms: for one query; None: as long as it takes. The budget is
    looked at between batches, so the last one may end after it. weight: times the re-ranker's
    own; of one that has none, 1 means that it counts as much as the encoder.
    """

    reranker: Reranker
    candidates: int = CANDIDATES
    budget_ms: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing that hits are compared with. query: its text or picture alone. name: what
    `Hit.parts` calls what it adds to their scores. sign: -1: not wanted."""

    query: Query
    name: str = VECTOR
    sign: float = 1.0


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
        self._said: set[str] = set()

    def search_batch(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of each query, re-ranked by those of its parts that are of the other
        kind than the hits: words for pictures, pictures for texts. Raises as `Engine.search`."""
        for query in queries:
            check_query(query)
        wider = [replace(q, k=max(q.k, self.second.candidates)) for q in queries]
        found = super().search_batch(wider)
        return [self._again(query, hits) for query, hits in zip(queries, found, strict=True)]

    def _again(self, query: Query, hits: list[Hit]) -> list[Hit]:
        parts = self._asks(query)
        asks = [one for one in parts if (one.query.text is None) == (query.kind == "text")]
        what, by = ("pictures", "words") if query.kind == "image" else ("texts", "pictures")
        if not asks:
            self._say_once(f"{what} are compared with {by} alone: these hits stay as they were")
            return hits[: query.k]
        if len(asks) < len(parts):
            self._say_once(f"{what} are compared with {by} alone: re-ranked by that part")
        again, missed = rerank_asks(asks, hits, self.second)
        if missed:
            self._say(f"{missed} of the candidates could not be looked at again")
        return again[: query.k]

    def _asks(self, query: Query) -> list[Ask]:
        """Return the parts of a query, those that name a stored item as what that is."""
        parts = query.asked
        alone = len(parts) == 1 and parts[0].weight > 0
        names = [VECTOR] if alone else names_of(parts)
        return [
            Ask(self._query(part), name, 1.0 if part.weight > 0 else -1.0)
            for part, name in zip(parts, names, strict=True)
        ]

    def _query(self, part: Part) -> Query:
        if part.key is None:
            return Query(part.text, part.image)
        (item,) = self.collection.get([part.key])  # the engine has had its vector
        return Query(item.text) if item.kind == "text" else Query(image=item.uri)

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


def rerank(query: Query, hits: Sequence[Hit], second: Second) -> tuple[list[Hit], int]:
    """Return the hits in their new order, and how many the re-ranker could not score.

    The score is the encoder's plus `weight` times the re-ranker's, counted from the median of
    the candidates: so a hit that was not looked at, because the time was over or its file is
    gone, counts as a middling one and keeps its score.
    """
    return rerank_asks([Ask(query)], hits, second)


def rerank_asks(asks: Sequence[Ask], hits: Sequence[Hit], second: Second) -> tuple[list[Hit], int]:
    """Return the hits of a query of these parts, and others, as `rerank` does.

    Of several parts each is brought to the spread of what it adds to the encoder's score,
    whatever the re-ranker's own weight: that score is no cosine.
    """
    first = list(hits[: second.candidates])
    scores, seen = _looked(asks, first, second)
    known = ~np.isnan(scores).any(0)
    missed = int((~known[:seen]).sum())
    if known.sum() < 2:
        return list(hits), missed
    gains = [_gained(a, own, known, first, second) for a, own in zip(asks, scores, strict=True)]
    gained = np.sum(gains, axis=0)
    changed = [
        replace(hit, score=hit.score + float(gain), parts={**hit.parts, PART: float(gain)})
        if told
        else hit
        for hit, gain, told in zip(first, gained, known, strict=True)
    ]
    order = sorted([*changed, *hits[len(first) :]], key=lambda hit: -hit.score)
    return [replace(hit, rank=n) for n, hit in enumerate(order, start=1)], missed


def _looked(asks: Sequence[Ask], hits: Sequence[Hit], second: Second) -> tuple[np.ndarray, int]:
    """Return (asks, hits) scores, NaN where there is none, and how many hits there was time for."""
    started = time.perf_counter()
    scores = np.full((len(asks), len(hits)), np.nan, np.float32)
    seen = 0
    while seen < len(hits):
        spent = 1_000 * (time.perf_counter() - started)
        if second.budget_ms is not None and spent >= second.budget_ms:
            break
        part = slice(seen, seen + AT_ONCE)
        items = [hit.item for hit in hits[part]]
        for row, ask in zip(scores, asks, strict=True):
            row[part] = second.reranker.score(ask.query, items)
        seen = min(seen + AT_ONCE, len(hits))
    return scores, seen


def _gained(
    ask: Ask, scores: np.ndarray, known: np.ndarray, hits: Sequence[Hit], second: Second
) -> np.ndarray:
    """Return what each hit gains by its scores with one part."""
    weight = second.reranker.weight if ask.name == VECTOR else None
    if weight is None:
        first = np.array([hit.parts.get(ask.name, hit.score) for hit in hits])
        weight = _spread(first[known]) / _spread(scores[known])
    gained: np.ndarray = ask.sign * second.weight * weight * (scores - np.median(scores[known]))
    return gained


def load_reranker(
    spec: str, model: str, *, threads: int | None = None, device: str | None = None,
    regions: Path | None = None, cache: TokenCache | None = None,
) -> Reranker:  # fmt: skip
    """Return the re-ranker that a spec names.

    Args:
        spec: `fusion`, `fusion:DIR`; `blip:DIR`, `blip2:DIR`, `vilt:DIR`, `bridgetower:DIR`,
            `lxmert:DIR`, `visualbert:DIR`, `vlm:DIR`, each also with a hub repository ORG/REPO;
            or what a third party has registered.
        model: the spec of the collection's encoder, whose tokens a re-ranker may read.
        threads: for each graph; None: the cores that this process may use.
        device: for those that torch runs.
        regions: a folder of .npz files or a TSV file, for those that look at a detector's
            regions in place of pixels.
        cache: where those keep pictures' tokens that see pictures apart from texts; None: in
            memory alone.

    Raises:
        UnknownName: no re-ranker has that name.
        MissingExtra: it needs an optional part of mmsearch.
        ModelUnavailable: its files are missing or broken, or it does not fit the encoder.
        BadRegions: it needs regions, and there are none.
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

    return factory(
        argument, tokens=tokens, threads=threads, device=device, regions=regions, cache=cache
    )


def _spread(values: np.ndarray) -> float:
    return float(values.std()) or 1.0
