"""Search by vectors and by words together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from index_store import Collection, Item, Where
from index_store.lexical import Lexicon, Progress, Words
from index_store.where import AllOf, In
from mmsearch.search import Engine
from mmsearch.types import Hit, Query

RECIPE = "1"  # of `words_of`; another one builds the words anew
CONSTANT = 60  # of reciprocal rank fusion
WEIGHT = 0.5  # of the words; the vectors have the rest
POOL = 100  # candidates of each way, at least
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
        fields["name"] = _CAMEL.sub(" ", name.rpartition(".")[0] or name)
        fields["folder"] = _CAMEL.sub(" ", folder.replace("/", " ")).strip()
    return Words(fields, picture if isinstance(picture, str) else "")


def search_hybrid(
    engine: Engine, lexicon: Lexicon, query: Query, *, weight: float = WEIGHT
) -> list[Hit]:
    """Return up to `query.k` hits of a text, by vectors and words fused, best first; of a query
    without a text, those of `Engine.search`.

    A hit's score is its fused one; its parts say how the two ways scored it, of those that
    found it: "vector" a cosine (of a query of several parts: each part's), "lexical" BM25. Words
    are looked for of `query.text` alone, and `query.min_score` is for vectors.

    Args:
        weight: of the words, 0 to 1.

    Raises:
        BadQuery: as `Engine.search`.
        BadFilter: the filter cannot be understood.
    """
    return search_hybrid_batch(engine, lexicon, [query], weight=weight)[0]


def search_hybrid_batch(
    engine: Engine, lexicon: Lexicon, queries: Sequence[Query], *, weight: float = WEIGHT
) -> list[list[Hit]]:
    """Return the hits of each query, as `search_hybrid` does; the vectors' by one call of
    `Engine.search_batch`. A query without a text is answered by vectors alone."""
    wider = [q if q.text is None else replace(q, k=_pool(q)) for q in queries]
    found = engine.search_batch(wider)
    return [
        hits if query.text is None else _fused(engine, lexicon, query, query.text, hits, weight)
        for query, hits in zip(queries, found, strict=True)
    ]


def _pool(query: Query) -> int:
    return max(POOL, 4 * query.k)


def _fused(
    engine: Engine, lexicon: Lexicon, query: Query, text: str, by_vector: Sequence[Hit],
    weight: float,
) -> list[Hit]:  # fmt: skip
    """Return the hits by vectors and those by the words of `text` as one list."""
    found = lexicon.search(text, _pool(query), kind=query.kind)
    passing = _passing(engine.collection, [f.key for f in found], query.where)
    by_word = [f for f in found if f.key in passing]
    scores: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    items = {h.item.key: h.item for h in by_vector} | passing
    for hit in by_vector:
        _count(scores, hit.item.key, 1 - weight, hit.rank)
        parts[hit.item.key] = dict(hit.parts)
    for rank, one in enumerate(by_word, start=1):
        _count(scores, one.key, weight, rank)
        parts.setdefault(one.key, {})["lexical"] = one.score
    best = sorted(scores, key=lambda key: (-scores[key], key))[: query.k]
    return [Hit(n, items[k], scores[k], parts[k]) for n, k in enumerate(best, start=1)]


def _count(scores: dict[str, float], key: str, weight: float, rank: int) -> None:
    # Reciprocal rank fusion (Cormack, Clarke & Buettcher 2009): the sum of 1 / (60 + rank); here
    # each way has a weight.
    scores[key] = scores.get(key, 0.0) + weight / (CONSTANT + rank)


def _passing(
    collection: Collection, keys: Sequence[str], where: Where | None
) -> dict[str, Item]:  # fmt: skip
    """Return those of the items that are there and pass the filter."""
    if where is not None:
        chunks = [keys[at : at + _CHUNK] for at in range(0, len(keys), _CHUNK)]
        keys = [k for some in chunks for k in collection.keys(AllOf(In("key", tuple(some)), where))]
    return {item.key: item for item in collection.get(keys)}
