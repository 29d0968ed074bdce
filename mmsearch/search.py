"""Queries answered: encode, search, rank."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import numpy as np

from index_store import Collection, Match, Where
from index_store.types import Kind, Vectors
from mmsearch.errors import BadPicture, BadQuery
from mmsearch.types import Encoder, Hit, Query
from mmsearch.uris import printable


class Engine:
    """A collection and the encoder of its vectors. Safe to use from threads.

    Raises:
        SpaceMismatch: the collection holds vectors of another encoder.
    """

    def __init__(self, collection: Collection, encoder: Encoder) -> None:
        collection.check_space(encoder.space)
        self.collection, self.encoder = collection, encoder

    def search(self, query: Query) -> list[Hit]:
        """Return up to `query.k` hits, best first.

        Raises:
            BadQuery: neither text nor picture, both, or a picture that cannot be read.
            BadFilter: the filter cannot be understood.
        """
        return self.search_batch([query])[0]

    def search_batch(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of each query. Neighbours that want the same share a pass over the
        vectors, and texts a call of the model. Raises as `search`."""
        for query in queries:
            if (query.text is None) == (query.image is None):
                raise BadQuery("a query is a text or a picture, one of the two")
            if query.text is not None and not query.text.strip():
                raise BadQuery("the query is empty")
        texts = [q.text for q in queries if q.text is not None]
        rows = iter(self.encoder.encode_texts(texts) if texts else ())
        vectors = [self._picture(q)[0] if q.text is None else next(rows) for q in queries]
        answers: list[list[Hit]] = []
        alike = itertools.groupby(range(len(queries)), lambda n: _scope(queries[n]))
        for (k, kind, where), numbers in alike:
            block = np.stack([vectors[n] for n in numbers])
            found = self.collection.search(block, k, kind=kind, where=where)
            answers += [ranked(matches) for matches in found]
        return answers

    def _picture(self, query: Query) -> Vectors:
        from mmsearch.images import open_picture

        image = query.image
        if isinstance(image, str | os.PathLike):
            try:
                image = open_picture(os.fspath(image), target=self.encoder.image_size).image
            except BadPicture as error:
                name = printable(os.fspath(query.image))  # type: ignore[arg-type]
                raise BadQuery(f"cannot search by {name}: {error}") from error
        assert image is not None  # search_batch has checked that it is a picture query
        return self.encoder.encode_images(self.encoder.prepare(image)[None])


def _scope(query: Query) -> tuple[int, Kind, Where | None]:
    """Return what queries must share to be searched in one pass over the vectors."""
    return query.k, query.kind, query.where


def neighbours(
    collection: Collection, key: str, k: int, *, kind: Kind = "image", where: Where | None = None
) -> list[Hit]:
    """Return up to k hits nearest to a stored item, without the item itself; no model is needed.

    Raises:
        KeyError: no item has that key.
        BadFilter: the filter cannot be understood.
    """
    vector = collection.vectors([key])
    (found,) = collection.search(vector, k + 1, kind=kind, where=where)
    return ranked([m for m in found if m.item.key != key][:k])


def ranked(matches: Sequence[Match]) -> list[Hit]:
    """Return matches, best first already, as hits with their ranks."""
    return [
        Hit(rank, m.item, m.score, {"vector": m.score}) for rank, m in enumerate(matches, start=1)
    ]
