"""A collection embedded anew with another model, beside the old vectors; then one switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from index_store import Collection, Item, Store
from mmsearch.cores import usable_cores
from mmsearch.errors import BadPicture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.pruning import forget
from mmsearch.sources import open_source
from mmsearch.types import Array, Encoder, Skipped

STAGING = "~next"  # after the collection's name: where the new vectors gather
LOOKUP = 512


@dataclass(slots=True)
class ReindexReport:
    """What a run has done so far.

    total: items of the collection. embedded: in this run; resumed: in an earlier one.
    missing: pictures that can't be read now. switched: searches use the new model.
    """

    total: int = 0
    embedded: int = 0
    resumed: int = 0
    missing: list[Skipped] = field(default_factory=list)
    switched: bool = False


def reindex(
    store: Store,
    name: str,
    encoder: Encoder,
    model: str,
    *,
    drop_missing: bool = False,
    batch_size: int = 16,
    threads: int | None = None,
    progress: Callable[[ReindexReport], None] | None = None,
) -> ReindexReport:
    """Embed every item of a collection with `encoder`, then put it in place in one transaction.

    The old vectors answer searches until then. Stopped at any moment, a second call goes on
    where the first was, and takes over what was changed, tagged or removed meanwhile. Keys,
    metadata and remembered failures are taken over.

    Args:
        store: open for writing.
        model: the spec that makes `encoder` again.
        drop_missing: switch even if pictures cannot be read now, and forget these with
            their captions.
        batch_size: items per encoder call and per commit.
        threads: to read and decode; default: the cores of this machine.
        progress: called with the report after every commit.

    Raises:
        CollectionNotFound: no collection of that name.
        StoreFull, WriteFailed: the old collection stays as it is.
    """
    old = store.collection(name)
    report = ReindexReport(total=old.count())
    if old.space == encoder.space:
        report.resumed, report.switched = report.total, True
        return report
    new = _staging(store, name + STAGING, encoder, model)
    prepared = map_ahead(
        lambda item: prepare(item, encoder),
        _missing_items(old, new, report),
        threads=threads or usable_cores(),
        ahead=3 * batch_size,
    )
    try:
        for batch in batched(prepared, batch_size):
            report.missing += [p for p in batch if isinstance(p, Skipped)]
            report.embedded += embed(batch, encoder, new)
            if progress:
                progress(report)
    finally:
        prepared.close()
    if report.missing and not drop_missing:
        return report
    _forget_others(new, set(old.keys()))
    forget(new, [skipped.key for skipped in report.missing])
    new.add_failures(old.failures())
    store.replace_collection(name, new.name)
    report.switched = True
    return report


def _staging(store: Store, name: str, encoder: Encoder, model: str) -> Collection:
    """Return the collection where the new vectors gather, begun anew for another model."""
    if name in store.collections():
        if store.collection(name).space == encoder.space:
            return store.collection(name)
        store.drop_collection(name)
    return store.create_collection(name, encoder.space, model=model)


def _missing_items(old: Collection, new: Collection, report: ReindexReport) -> Iterator[Item]:
    """Yield the items whose like is not in `new` yet; bring what is told of the others there."""
    for keys in batched(old.keys(), LOOKUP):
        there = {item.key: item for item in new.get(keys)}
        told = []
        for item in old.get(keys):
            stored = there.get(item.key)
            if stored is None or _embedded(stored) != _embedded(item):
                yield item
                continue
            report.resumed += 1
            if stored != item:  # tagged, read by OCR, moved ... since the first run
                told.append(item)
        new.update(told)


def _embedded(item: Item) -> tuple[str, str, str, str]:
    """Return what an item's vector depends on."""
    return item.kind, item.stamp, item.content, item.text


def _forget_others(new: Collection, wanted: set[str]) -> None:
    """Delete what was embedded by an earlier run and is gone from the collection since."""
    gone = set(new.keys()) - wanted
    for some in batched(sorted(gone), LOOKUP):
        new.delete(some)


def prepare(item: Item, encoder: Encoder) -> tuple[Item, Array | None] | Skipped:
    """Return a stored item with what the encoder needs of its picture; None for a text."""
    if item.kind == "text":
        return item, None
    from mmsearch.images import open_picture

    try:
        picture = open_picture(open_source(item.uri), target=encoder.image_size)
        return item, encoder.prepare(picture.image)
    except (BadPicture, ValueError) as error:
        return Skipped(item.key, item.uri, str(error), item.stamp)
    except OSError as error:
        return Skipped(item.key, item.uri, error.strerror or str(error), item.stamp)


def embed(
    batch: list[tuple[Item, Array | None] | Skipped], encoder: Encoder, new: Collection
) -> int:
    """Encode and commit what could be prepared; return how many items that were."""
    ready = [p for p in batch if not isinstance(p, Skipped)]
    texts = [item for item, array in ready if array is None]
    pictures = [(item, array) for item, array in ready if array is not None]
    blocks = []
    if texts:
        blocks.append(encoder.encode_texts([t.text for t in texts]))
    if pictures:
        blocks.append(encoder.encode_images(np.stack([array for _, array in pictures])))
    if blocks:
        new.add([*texts, *(item for item, _ in pictures)], np.concatenate(blocks))
    return len(ready)
