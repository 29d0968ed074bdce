"""Search by the vectors of pictures, by those of their captions, and by words, all together.

The scores of each way are brought to one scale and added. Vectors: how many deviations a cosine
lies above this question's background, the mean of the picture's and its best caption's, as far as
captions can be trusted (`caption_scores`), as a part of the best one's. Words: BM25 as a part of
what all of the question's words would get (`index_store.lexical.Found.share`). So a picture that
has all the words comes first or near it whatever it looks like, and one that has few of them is
moved little.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from index_store import Collection, Item
from index_store.lexical import Found, Lexicon, Progress, Words
from index_store.types import Vectors
from index_store.where import AllOf, In
from mmsearch.caption_scores import CaptionScores
from mmsearch.composing import FEWEST, Background, background
from mmsearch.search import Engine, check_query, unnamed
from mmsearch.stored_rows import rows_of
from mmsearch.types import Hit, Query

RECIPE = "2"  # of `words_of`; another one builds the words anew
WEIGHT = 0.5  # of the words; the vectors have the rest
POOL = 100  # candidates of each way, at least
_WIDER = 4  # times as many by words and captions under a filter; by words then all that pass
_CHUNK = 100
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LISTS = ("keywords", "tags")


def lexicon_of(collection: Collection, progress: Progress | None = None) -> Lexicon:
    """Return the words of a collection; they are read when they are first asked for, which
    `progress` is told: items read, and how many there are."""
    return collection.lexicon(words_of, RECIPE, progress=progress)


def words_of(item: Item) -> Words:
    """Return an item's words: the names of file and folders, title, caption, keywords, tags."""
    tags = [item.meta.get(name) for name in (*_LISTS, "cluster")]
    told = [item.text, *(item.meta.get(name) for name in ("title", "caption", "ocr"))]
    fields = {
        "text": " ".join(t for t in told if isinstance(t, str)),
        "tags": " ".join(" ".join(t) if isinstance(t, list) else str(t) for t in tags if t),
    }
    picture = item.key if item.kind == "image" else item.meta.get("picture", "")
    if item.kind == "image":  # the words of a caption are its own: the picture brings the names
        folder, _, name = item.key.rpartition("/")
        fields["name"] = _parted(name.rpartition(".")[0] or name)
        fields["folder"] = _parted(folder.replace("/", " ")).strip()
    return Words(fields, picture if isinstance(picture, str) else "")


def _parted(name: str) -> str:
    """Return a name with "redHouse" as "red House", and as it is besides."""
    joined = [word for word in name.split() if _CAMEL.search(word)]
    return " ".join([_CAMEL.sub(" ", name), *joined])


def search_hybrid(
    engine: Engine, lexicon: Lexicon, query: Query, *, weight: float = WEIGHT
) -> list[Hit]:
    """Return up to `query.k` hits of a text, by vectors and words fused, best first; of a query
    that wants no text, those of `Engine.search`.

    A hit's score is its fused one; its parts say how each way scored it: "vector" a cosine (of a
    query of several parts: each part's), "caption" the cosine of the text with its best caption,
    "lexical" BM25. Captions and words are asked for `wanted_text` alone, captions not in a query of
    several parts; `query.min_score` is for pictures by their vectors.

    Args:
        weight: of the words, 0 to 1; the vectors have the rest.

    Raises:
        BadQuery: as `Engine.search`.
        BadFilter: the filter cannot be understood.
    """
    return search_hybrid_batch(engine, lexicon, [query], weight=weight)[0]


def search_hybrid_batch(
    engine: Engine, lexicon: Lexicon, queries: Sequence[Query], *, weight: float = WEIGHT
) -> list[list[Hit]]:
    """Return the hits of each query, as `search_hybrid` does; the vectors' by one call of
    `Engine.search_batch`. A query that wants no text is answered by vectors alone."""
    for query in queries:
        check_query(query)
    texts = [wanted_text(query) for query in queries]
    wider = [
        q if text is None else replace(q, k=_pool(q))
        for q, text in zip(queries, texts, strict=True)
    ]
    found = engine.search_batch(wider)
    known = [text for text in texts if text is not None]
    rows = iter(engine.text_rows(known) if known else ())
    return [
        hits if text is None
        else _Fusion(engine, lexicon, query, text, next(rows)).hits(hits, weight)
        for query, text, hits in zip(queries, texts, found, strict=True)
    ]  # fmt: skip


def wanted_text(query: Query) -> str | None:
    """Return the first text that a query wants, whose words are looked for; None: it has none."""
    return next((p.text for p in query.asked if p.text is not None and p.weight > 0), None)


def _pool(query: Query) -> int:
    return max(POOL, 4 * query.k)


@dataclass(frozen=True, slots=True)
class _Way:
    """How one sort of cosines counts: its weight, the question's background, hubness by key."""

    weight: float
    ground: Background
    off: Mapping[str, float] = field(default_factory=dict)

    def deviations(self, key: str, cosine: float) -> float:
        return (cosine - self.off.get(key, 0.0) - self.ground.mean) / self.ground.deviation


class _Fusion:
    """One question's answer put together."""

    def __init__(
        self, engine: Engine, lexicon: Lexicon, query: Query, text: str, row: Vectors
    ) -> None:
        self.collection, self.lexicon = engine.collection, lexicon
        self.query, self.text, self.row = replace(query, where=unnamed(query)), text, row
        self.samples, self.hubs = samples, hubs = engine.grounds()
        self.alone = len(query.asked) == 1  # else a hit's score is of all parts, in deviations
        self.captions: CaptionScores | None = None
        if self.alone and query.kind == "image" and len(samples["text"]) >= FEWEST:
            pool = _pool(query) * (1 if query.where is None else _WIDER)
            self.captions = CaptionScores(
                engine.collection, lexicon, row, pool, lambda text: words_of(text).picture,
                samples, hubs,
            )  # fmt: skip

    def hits(self, by_vector: Sequence[Hit], weight: float) -> list[Hit]:
        """Return the best of what each way has found."""
        query = self.query
        words = {f.key: f for f in self._words()}
        seen = {h.item.key: h for h in by_vector}
        # A cut-off is for vectors: what a caption brings would be another such.
        brought = self.captions.cosines if self.captions and query.min_score is None else ()
        others = dict.fromkeys(k for k in (*words, *brought) if k not in seen)
        items = {k: h.item for k, h in seen.items()} | self._passing([*others])
        parts = self._parts(items, seen)
        likeness = self._likeness(items, seen, parts)
        best = max(likeness.values(), default=0.0)
        scores = {}
        for key in items:
            share = words[key].share if key in words else 0.0
            part = likeness[key] / best if likeness[key] > 0 else 0.0
            scores[key] = (1 - weight) * part + weight * share
            if key in words:
                parts[key]["lexical"] = words[key].score
        order = sorted(items, key=lambda key: (-scores[key], -likeness[key], key))[: query.k]
        return [Hit(n, items[k], scores[k], parts[k]) for n, k in enumerate(order, start=1)]

    def _words(self) -> list[Found]:
        """Return what has the words, best first; under a filter of what passes it."""
        query, pool = self.query, _pool(self.query)
        text, wanted = self.text, pool if query.where is None else _WIDER * pool
        found = self.lexicon.search(text, wanted, kind=query.kind)
        if query.where is None:
            return found
        passing = self._passing([f.key for f in found])
        kept = [f for f in found if f.key in passing]
        if len(kept) < pool and len(found) == wanted:  # others have the words, too
            among = frozenset(self.collection.keys(query.where))
            kept = self.lexicon.search(text, pool, kind=query.kind, among=among)
        return kept[:pool]

    def _parts(
        self, items: Mapping[str, Item], seen: Mapping[str, Hit]
    ) -> dict[str, dict[str, float]]:
        """Return the cosines of all items, also where another way has found them."""
        parts = {key: dict(seen[key].parts) if key in seen else {} for key in items}
        if self.alone:
            others = rows_of(self.collection, [key for key in items if key not in seen])
            for key, row in others.items():
                parts[key]["vector"] = float(row @ self.row)
        if self.captions:
            self.captions.complete(items)
            for key, cosine in self.captions.cosines.items():
                if key in parts:
                    parts[key]["caption"] = cosine
        return parts

    def _likeness(
        self, items: Mapping[str, Item], seen: Mapping[str, Hit],
        parts: Mapping[str, Mapping[str, float]],
    ) -> dict[str, float]:  # fmt: skip
        """Return what the vectors say of each item, in deviations."""
        if not self.alone:
            return {key: seen[key].score if key in seen else 0.0 for key in items}
        ways = self._ways(items)
        likeness = {}
        for key, plain in parts.items():
            # A re-ranked hit's score is its cosine and what the second look has added.
            own = {**plain, "vector": seen[key].score} if key in seen else plain
            known = [
                (way.weight, way.deviations(key, own[n])) for n, way in ways.items() if n in own
            ]
            whole = sum(weight for weight, _ in known)
            likeness[key] = sum(weight * d for weight, d in known) / whole if whole else 0.0
        return likeness

    def _ways(self, items: Mapping[str, Item]) -> dict[str, _Way]:
        """Return how the cosines of pictures count, and those of captions, as far as these can be
        trusted: so far hubness goes off pictures, too, which captions tell."""
        if not self.captions or not self.captions.trust:
            return {"vector": _Way(1.0, background(self.row, self.samples[self.query.kind]))}
        trust, hubs = self.captions.trust, self.hubs
        (pictures, theirs), (captions, own) = hubs.sample("image"), hubs.sample("text")
        off = hubs.off("image", rows_of(self.collection, [*items]))
        return {
            "vector": _Way(
                1.0, background(self.row, pictures, trust * theirs),
                {key: trust * hubness for key, hubness in off.items()},
            ),
            "caption": _Way(trust, background(self.row, captions, own), self.captions.off),
        }  # fmt: skip

    def _passing(self, keys: Sequence[str]) -> dict[str, Item]:
        """Return those of the items that are there and pass the filter."""
        where = self.query.where
        if where is not None:
            chunks = [keys[at : at + _CHUNK] for at in range(0, len(keys), _CHUNK)]
            passing = (self.collection.keys(AllOf(In("key", tuple(c)), where)) for c in chunks)
            keys = [key for some in passing for key in some]
        return {item.key: item for item in self.collection.get(keys)}
