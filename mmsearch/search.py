"""Queries answered: encode, search, rank."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from index_store.types import Kind, Match, Vectors
from mmsearch.errors import BadPicture, BadQuery
from mmsearch.types import Encoder, Hit, Part, Query
from mmsearch.uris import is_text, printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from index_store import Collection, Where
    from mmsearch.composing import Blend
    from mmsearch.hubness import Hubs
    from mmsearch.stored_rows import Samples


class Engine:
    """A collection and the encoder of its vectors. Safe to use from threads.

    Raises:
        SpaceMismatch: the collection holds vectors of another encoder.
    """

    def __init__(self, collection: Collection, encoder: Encoder) -> None:
        collection.check_space(encoder.space)
        self.collection, self.encoder = collection, encoder
        self._threshold: tuple[int, float] | None = None  # and the commit that it is of
        self._grounds: tuple[int, Samples, Hubs] | None = None  # likewise
        self._rows: dict[str, Vectors] = {}  # of the texts that were asked for last

    def search(self, query: Query) -> list[Hit]:
        """Return up to `query.k` hits, best first. Items that the query names by key are none.

        Raises:
            BadQuery: nothing is asked for, a picture cannot be read, no item has that key, the
                parts cancel out, or k, kind or min_score is none.
            BadFilter: the filter cannot be understood.
        """
        return self.search_batch([query])[0]

    def search_batch(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of each query. Neighbours that want the same share a pass over the
        vectors, and texts a call of the model. Raises as `search`."""
        for query in queries:
            check_query(query)
        rows = self._encoded([part for query in queries for part in query.asked])
        blends: list[Blend | None] = []
        vectors: list[Vectors] = []
        for query in queries:
            own = np.stack([next(rows) for _ in query.asked])
            blends.append(self._blend(query, own))
            blended = blends[-1]
            vectors.append(own[0] if blended is None else blended.vector)
        answers: list[list[Hit]] = []
        alike = itertools.groupby(range(len(queries)), lambda n: self._scope(queries[n]))
        for (k, kind, where, crosses), group in alike:
            numbers = list(group)
            block = np.stack([vectors[n] for n in numbers])
            if crosses:
                found = self._captions(block, k, where)
            else:
                matches = self.collection.search(block, k, kind=kind, where=where)
                found = [self._ranked(m, blends[n]) for n, m in zip(numbers, matches, strict=True)]
            for n, hits in zip(numbers, found, strict=True):
                least = self._least_score(queries[n])
                answers.append([h for h in hits if h.score >= least])
        return answers

    def _captions(self, rows: Vectors, k: int, where: Where | None) -> list[list[Hit]]:
        from mmsearch.hubness import captions_of

        return captions_of(self.collection, rows, k, self.grounds()[1], where=where)

    def grounds(self) -> tuple[Samples, Hubs]:
        """Return samples of the collection as it is, and the hubness of its items."""
        from mmsearch.hubness import Hubs
        from mmsearch.stored_rows import Samples

        seq, known = self.collection.seq(), self._grounds
        if known is None or known[0] != seq:
            samples = Samples(self.collection)
            known = self._grounds = seq, samples, Hubs(samples)
        return known[1:]

    def text_rows(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) unit rows of texts; those of the last call are known."""
        known = self._rows
        new = [text for text in dict.fromkeys(texts) if text not in known]
        made = dict(zip(new, self.encoder.encode_texts(new), strict=True)) if new else {}
        rows = {text: made[text] if text in made else known[text] for text in texts}
        self._rows = rows
        return np.stack([rows[text] for text in texts])

    def _least_score(self, query: Query) -> float:
        """Return the score that a hit must have."""
        if query.min_score is None:
            return -math.inf
        if query.min_score != "auto":
            return query.min_score
        parts = query.asked
        if query.kind != "image" or len(parts) > 1 or parts[0].text is None:
            raise BadQuery("a cut-off of auto is for pictures by one text; give a number instead")
        seq = self.collection.seq()
        if self._threshold is None or self._threshold[0] != seq:
            from mmsearch.cutoff import FEWEST, threshold

            few = self.collection.count("image") < FEWEST
            least = -math.inf if few else threshold(self.encoder, self.collection)
            self._threshold = seq, least
        return self._threshold[1]

    def _encoded(self, parts: Sequence[Part]) -> Iterator[Vectors]:
        """Return the vector of each part, the texts' by one call of the model."""
        texts = [p.text for p in parts if p.text is not None]
        rows = iter(self.text_rows(texts) if texts else ())
        return iter([next(rows) if p.text is not None else self._other(p) for p in parts])

    def _other(self, part: Part) -> Vectors:
        if part.image is not None:
            return self._picture(part.image)
        try:
            row: Vectors = self.collection.vectors([part.key or ""])[0]
        except KeyError as error:
            raise BadQuery(f"the collection has no item {printable(str(part.key))}") from error
        return row

    def _picture(self, image: Image | str) -> Vectors:
        from mmsearch.images import open_picture

        if isinstance(image, str | os.PathLike):
            path = os.fspath(image)
            try:
                image = open_picture(path, target=self.encoder.image_size).image
            except BadPicture as error:
                raise BadQuery(f"cannot search by {printable(path)}: {error}") from error
        row: Vectors = self.encoder.encode_images(self.encoder.prepare(image)[None])[0]
        return row

    def _blend(self, query: Query, rows: Vectors) -> Blend | None:
        """Return the query's parts as one vector; None if there is one, which stands as it is."""
        parts = query.asked
        if len(parts) == 1 and parts[0].weight > 0:
            return None
        from mmsearch.composing import BACKGROUND, blend

        sample = self.collection.sample(query.kind, BACKGROUND)
        blended = blend(rows, [p.weight for p in parts], names_of(parts), sample)
        if blended is None:
            raise BadQuery("the parts of the query cancel out")
        return blended

    def _scope(self, query: Query) -> tuple[int, Kind, Where | None, bool]:
        """Return what queries must share to be searched in one pass over the vectors; the last:
        texts are searched by one picture."""
        parts = query.asked
        alone = query.kind == "text" and len(parts) == 1 and parts[0].weight > 0
        return query.k, query.kind, unnamed(query), alone and self._is_picture(parts[0])

    def _is_picture(self, part: Part) -> bool:
        if part.key is None:
            return part.image is not None
        return [item.kind for item in self.collection.get([part.key])] == ["image"]

    def _ranked(self, matches: Sequence[Match], blended: Blend | None) -> list[Hit]:
        if blended is None or not matches:
            return ranked(matches)
        stored = self.collection.vectors([m.item.key for m in matches])
        return [
            Hit(rank, match.item, sum(parts.values()), parts)
            for rank, (match, parts) in enumerate(
                zip(matches, blended.explained(stored), strict=True), start=1
            )
        ]


def unnamed(query: Query) -> Where | None:
    """Return the query's filter, without the items that the query names by key."""
    where = query.where
    if keys := tuple(p.key for p in query.asked if p.key is not None):
        from index_store import AllOf, In, Not

        others = Not(In("key", keys))
        where = others if where is None else AllOf(where, others)
    return where


def names_of(parts: Sequence[Part]) -> list[str]:
    """Return what `Hit.parts` calls each part; of several alike, "image", "image 2" ..."""
    names: list[str] = []
    for part in parts:
        kind = "text" if part.text is not None else "image" if part.image is not None else "like"
        name = part.name or ("not" if part.weight < 0 else kind)
        count = sum(n == name or n.startswith(f"{name} ") for n in names)
        names.append(f"{name} {count + 1}" if count else name)
    return names


def check_query(query: Query) -> None:
    """Raise BadQuery unless every part is one thing, with a weight, and what is wanted is clear."""
    if query.k < 0:
        raise BadQuery(f"a query cannot want {query.k} hits")
    if query.kind not in ("image", "text"):
        raise BadQuery(f"a query finds items of the kind image or text, not {query.kind!r}")
    least = query.min_score
    if not (
        least is None or least == "auto" or (isinstance(least, Real) and not math.isnan(least))
    ):
        raise BadQuery(f"min_score is a number, 'auto' or None, not {least!r}")
    if query.text is not None and query.image is not None:
        raise BadQuery("a query is a text or a picture, one of the two; the other is a part")
    if not query.asked:
        raise BadQuery("a query is a text or a picture, one of the two")
    for part in query.asked:
        if sum(v is not None for v in (part.text, part.image, part.key)) != 1:
            raise BadQuery("a part of a query is a text, a picture or a key, one of the three")
        if part.text is not None and not part.text.strip():
            raise BadQuery("the query is empty")
        if part.text is not None and not is_text(part.text):
            raise BadQuery(f"the query is no valid Unicode: {printable(part.text)}")
        if not math.isfinite(part.weight) or part.weight == 0:
            raise BadQuery(f"a part cannot have the weight {part.weight:g}")


def neighbours(
    collection: Collection, key: str, k: int, *, kind: Kind = "image", where: Where | None = None
) -> list[Hit]:
    """Return up to k hits nearest to a stored item, without the item itself; no model is needed.

    Raises:
        KeyError: no item has that key.
        BadFilter: the filter cannot be understood.
    """
    vector = collection.vectors([key])
    if kind == "text" and [item.kind for item in collection.get([key])] == ["image"]:
        from mmsearch.hubness import Hubs, captions_of
        from mmsearch.stored_rows import Samples

        return captions_of(collection, vector, k, Hubs(Samples(collection)), where=where)[0]
    (found,) = collection.search(vector, k + 1, kind=kind, where=where)
    return ranked([m for m in found if m.item.key != key][:k])


def ranked(matches: Sequence[Match]) -> list[Hit]:
    """Return matches, best first already, as hits with their ranks."""
    return [
        Hit(rank, m.item, m.score, {"vector": m.score}) for rank, m in enumerate(matches, start=1)
    ]
