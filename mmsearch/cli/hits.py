"""The pictures that a search finds, for commands that go on with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from index_store import Item, Where


def pictures_found(
    store: Path, collection: str, query: str, *, k: int, where: Where | None, threads: int | None
) -> list[Item]:
    """Return the k pictures of a collection that fit the words best."""
    from index_store import Store
    from mmsearch.encoders import load_encoder
    from mmsearch.search import Engine
    from mmsearch.types import Query

    with Store.open(store, readonly=True) as opened:
        found = opened.collection(collection)
        encoder = load_encoder(found.model, threads=threads, towers="text")
        hits = Engine(found, encoder).search(Query(query, k=k, where=where))
    return [hit.item for hit in hits]
