"""Items whose vectors were lost, embedded again from their sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from index_store import Collection, Failure, Item
from mmsearch.cores import usable_cores
from mmsearch.pipeline import batched, map_ahead
from mmsearch.reindexing import embed, prepare
from mmsearch.types import Encoder, Skipped


def embed_again(
    collection: Collection,
    items: Sequence[Item],
    encoder: Encoder,
    *,
    batch_size: int = 16,
    threads: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[Skipped]:
    """Embed items that a repair has lost the vectors of; return those that cannot be read.

    Each is stored as it was: if its source has changed since, the next ingest sees that.

    Args:
        batch_size: items per encoder call and per commit.
        threads: to read and decode; default: the cores of this machine.
        progress: called with the number of items of each batch.

    Raises:
        SpaceMismatch: the collection holds vectors of another encoder.
        StoreFull, WriteFailed: what was embedded before is kept.
    """
    collection.check_space(encoder.space)
    missing: list[Skipped] = []
    prepared = map_ahead(
        lambda item: prepare(item, encoder),
        items,
        threads=threads or usable_cores(),
        ahead=3 * batch_size,
    )
    try:
        for batch in batched(prepared, batch_size):
            gone = [p for p in batch if isinstance(p, Skipped)]
            embed(batch, encoder, collection)
            # Without a stamp: the next ingest tries them again.
            collection.add_failures([Failure(s.key, s.uri, s.reason) for s in gone])
            missing += gone
            if progress:
                progress(len(batch))
    finally:
        prepared.close()
    return missing
