"""Vectors of pairs, through the ordinary encoder; what cannot be read is told, not lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from index_store.types import Vectors
from mmsearch.cores import usable_cores
from mmsearch.errors import BadPicture
from mmsearch.evaluation.pairs import Pairs
from mmsearch.pipeline import batched, map_ahead
from mmsearch.types import Array, Encoder, Sample, Skipped

BATCH = 16
TEXTS = 32

# What is being done, how much of it is done, and of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Pairs with their vectors: images (pictures, dim), texts (texts, dim), unit rows."""

    pairs: Pairs
    images: Vectors
    texts: Vectors


def embed(
    encoder: Encoder, pairs: Pairs,
    *, threads: int | None = None, batch_size: int = BATCH, progress: Progress | None = None,
) -> Embedded:  # fmt: skip
    """Return the vectors of all pictures that can be read, and of the texts that still have one.

    Texts that are the same to the letter are embedded once, so their vectors are equal.

    Args:
        encoder: of both.
        pairs: what to embed.
        threads: to read and decode; None: the cores that this process may use.
        batch_size: pictures per call of the encoder.
        progress: told after every batch.

    Raises:
        BadPicture: no picture at all could be read; the first one's reason.
    """
    threads = threads or usable_cores()
    blocks: list[Vectors] = []
    pictures: list[Sample] = []
    skipped: list[Skipped] = []
    gone: list[int] = []

    def opened(sample: Sample) -> tuple[Sample, Array] | Skipped:
        return _opened(encoder, sample)

    prepared = map_ahead(opened, pairs.pictures, threads=threads, ahead=3 * batch_size)
    try:
        done = 0
        for batch in batched(prepared, batch_size):
            ready = [b for b in batch if not isinstance(b, Skipped)]
            gone += [done + n for n, b in enumerate(batch) if isinstance(b, Skipped)]
            skipped += [b for b in batch if isinstance(b, Skipped)]
            pictures += [sample for sample, _ in ready]
            if ready:
                blocks.append(encoder.encode_images(np.stack([array for _, array in ready])))
            done += len(batch)
            if progress:
                progress("pictures", done, len(pairs.pictures))
    finally:
        prepared.close()
    if not blocks:
        raise BadPicture(f"none of the pictures can be read; the first: {skipped[0].reason}")
    left = replace(pairs.without(gone, skipped), pictures=tuple(pictures))
    return Embedded(left, np.concatenate(blocks), embed_texts(encoder, left.texts, progress))


def embed_texts(
    encoder: Encoder, texts: Sequence[str], progress: Progress | None = None
) -> Vectors:
    """Return (len(texts), dim) unit rows; equal texts are embedded once."""
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = np.empty((len(rows), encoder.space.dim), np.float32)
    done = 0
    for batch in batched(rows, TEXTS):
        vectors[done : done + len(batch)] = encoder.encode_texts(batch)
        done += len(batch)
        if progress:
            progress("texts", done, len(rows))
    return vectors[[rows[text] for text in texts]]


def common(a: Embedded, b: Embedded) -> tuple[Embedded, Embedded]:
    """Return both without the pictures that only one of them could read."""
    both = {s.item.key for s in a.pairs.pictures} & {s.item.key for s in b.pairs.pictures}
    return _restricted(a, both), _restricted(b, both)


def _restricted(embedded: Embedded, keys: set[str]) -> Embedded:
    pairs = embedded.pairs
    left = [n for n, s in enumerate(pairs.pictures) if s.item.key in keys]
    if len(left) == len(pairs.pictures):
        return embedded
    kept = set(left)
    texts = [t for t, own in enumerate(pairs.owners) if kept & set(own)]
    gone = [n for n in range(len(pairs.pictures)) if n not in kept]
    reasons = [_unread(pairs.pictures[n]) for n in gone]
    return Embedded(pairs.without(gone, reasons), embedded.images[left], embedded.texts[texts])


def _unread(sample: Sample) -> Skipped:
    return Skipped(sample.item.key, sample.item.uri, "the other model could not read it")


def _opened(encoder: Encoder, sample: Sample) -> tuple[Sample, Array] | Skipped:
    """Return the sample with its picture's meta, and the array that the model eats."""
    from mmsearch.images import open_picture
    from mmsearch.sources import place_of, source_at

    try:
        picture = open_picture(source_at(place_of(sample)), target=encoder.image_size)
        item = replace(sample.item, meta={**sample.item.meta, **picture.meta})
        return replace(sample, item=item), encoder.prepare(picture.image)
    except BadPicture as error:
        return Skipped(sample.item.key, sample.item.uri, str(error), sample.item.stamp)
    except OSError as error:
        reason = error.strerror or str(error)
        return Skipped(sample.item.key, sample.item.uri, reason, sample.item.stamp)


__all__ = ["Embedded", "Progress", "common", "embed", "embed_texts"]
