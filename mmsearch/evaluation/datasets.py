"""A model on a data set of pairs, both ways; and two models on the same one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from index_store import Collection, Item, Store, Where
from mmsearch.errors import BadSource
from mmsearch.evaluation.direction import Direction, differences, measure
from mmsearch.evaluation.embedding import Embedded, Progress, common, embed
from mmsearch.evaluation.losses import Split, split_loss
from mmsearch.evaluation.pairs import Pairs
from mmsearch.evaluation.ranks import Relevance
from mmsearch.evaluation.result import Comparison, Evaluation
from mmsearch.hubness import Hubs, captions_of
from mmsearch.metrics import HIT_RANKS, RESAMPLES
from mmsearch.sources import place_of, source_at
from mmsearch.stored_rows import Samples
from mmsearch.types import Encoder

T = TypeVar("T")
SMALLEST_INDEX = 39 * 16  # rows; faiss warns of fewer than 39 a centroid when it trains
TIMED = 30  # queries encoded one by one to time it
_ROWS = 4_096  # per transaction of the temporary store


def evaluate_pairs(
    pairs: Pairs, encoder: Encoder, model: str,
    *, where: Where | None = None, ann: bool = False, effort: int | None = None,
    resamples: int = RESAMPLES, seed: int = 0, threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, Embedded]:  # fmt: skip
    """Return how well a model brings texts and pictures together, and the vectors.

    Args:
        pairs: from `read_pairs`.
        encoder: the model.
        model: its spec, for the report.
        where: also measure what this filter, over the pictures' meta, loses.
        ann: also build an approximate index in a temporary store, and measure what it loses.
        effort: candidates that the index may name; None is its default.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the sample of queries that is timed.
        threads: to read and decode.
        progress: told what is being done, how much of it is done, and of how many.

    Raises:
        BadSource: no picture with a caption can be read.
        BadPicture: no picture can be read.
    """
    embedded = embed(encoder, pairs, threads=threads, progress=progress)
    found = directions(embedded, resamples=resamples, seed=seed, progress=progress)
    notes: list[str] = []
    with temporary_collection(embedded, encoder) as collection:
        if ann:
            notes = _build_indexes(collection, effort)
        losses = _losses(collection, embedded, found, where, effort, seed, progress)
    timed = {
        "text": time_each(lambda text: encoder.encode_texts([text]), embedded.pairs.texts),
        "image": time_each(lambda s: _encode_file(encoder, place_of(s)), embedded.pairs.pictures),
    }
    result = Evaluation(
        describe(embedded.pairs), model, encoder.space.name, found, losses, timed,
        embedded.pairs.skipped, notes,
    )  # fmt: skip
    return result, embedded


def compare_models(
    pairs: Pairs, encoders: Sequence[Encoder], models: Sequence[str],
    *, resamples: int = RESAMPLES, seed: int = 0, threads: int | None = None,
    progress: Progress | None = None,
) -> Comparison:  # fmt: skip
    """Return two models side by side, with the paired differences between them.

    Both are measured on the pictures that both can read.

    Args:
        pairs: from `read_pairs`.
        encoders: A and B.
        models: their specs, for the report.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        threads: to read and decode.
        progress: as in `evaluate_pairs`.

    Raises:
        BadSource: no picture with a caption can be read.
        BadPicture: no picture can be read.
    """
    first = embed(encoders[0], pairs, threads=threads, progress=progress)
    second = embed(encoders[1], first.pairs, threads=threads, progress=progress)
    sides = common(first, second)
    found = [directions(side, resamples=resamples, seed=seed, progress=progress) for side in sides]
    a, b = (
        Evaluation(
            describe(side.pairs), model, encoder.space.name, ways, skipped=side.pairs.skipped
        )
        for side, encoder, model, ways in zip(sides, encoders, models, found, strict=True)
    )
    gaps = {
        name: differences(found[0][name], found[1][name], resamples=resamples, seed=seed)
        for name in found[0]
    }
    return Comparison(a, b, gaps)


def directions(
    embedded: Embedded, *, resamples: int = RESAMPLES, seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Direction]:  # fmt: skip
    """Return both ways of asking, by exact search over the vectors.

    Raises:
        BadSource: there is no text left to ask.
    """
    pairs = embedded.pairs
    if not pairs.texts:
        raise BadSource("none of the pictures that have captions can be read")

    def told(what: str, total: int) -> Callable[[int], None]:
        return lambda done: progress(what, done, total) if progress else None

    described = pairs.described()
    return {
        "text_to_image": measure(
            embedded.texts, embedded.images, pairs.text_to_image(), pairs.text_clusters(),
            resamples=resamples, seed=seed, progress=told("text -> image", len(pairs.texts)),
        ),
        "image_to_text": measure(
            embedded.images[described], embedded.texts, pairs.image_to_text(),
            pairs.image_clusters(), resamples=resamples, seed=seed,
            progress=told("image -> text", len(described)),
        ),
    }  # fmt: skip


@contextmanager
def temporary_collection(embedded: Embedded, encoder: Encoder) -> Iterator[Collection]:
    """Store the pairs as items "p0", "p1", ... and "t0", ...; gone when the block ends.

    Texts have the meta of their first picture, so that a filter over pictures holds for them.
    """
    pairs = embedded.pairs
    with (
        TemporaryDirectory(prefix="mmsearch-eval-") as folder,
        Store.open(Path(folder) / "store", create=True) as store,
    ):
        collection = store.create_collection("evaluation", encoder.space)
        for start in range(0, len(pairs.pictures), _ROWS):
            part = enumerate(pairs.pictures[start : start + _ROWS], start=start)
            items = [Item(f"p{n}", "image", s.item.uri, meta=s.item.meta) for n, s in part]
            collection.add(items, embedded.images[start : start + _ROWS])
        for start in range(0, len(pairs.texts), _ROWS):
            stop = min(start + _ROWS, len(pairs.texts))
            items = [_text_item(pairs, n) for n in range(start, stop)]
            collection.add(items, embedded.texts[start:stop])
        yield collection


def describe(pairs: Pairs) -> dict[str, Any]:
    """Return what was evaluated, for the report."""
    return {
        "source": pairs.source,
        "split": pairs.split,
        "pictures": len(pairs.pictures),
        "texts": len(pairs.texts),
        "skipped": len(pairs.skipped),
    }


def time_each(encode: Callable[[T], object], queries: Sequence[T]) -> tuple[float, float]:
    """Return p50 and p99, in milliseconds, of encoding queries one at a time, after a warm-up."""
    chosen = [queries[n] for n in np.linspace(0, len(queries) - 1, TIMED).astype(int)]
    times = []
    for query in [chosen[0], *chosen]:
        start = time.perf_counter()
        encode(query)
        times.append(1_000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(times[1:], [50, 99])
    return float(p50), float(p99)


def keys_of_relevant(relevant: Relevance, prefix: str) -> list[frozenset[str]]:
    """Return, for each query, the keys that `temporary_collection` gave its relevant rows."""
    return [
        frozenset(f"{prefix}{row}" for row in relevant.of(query)) for query in range(len(relevant))
    ]


def _losses(
    collection: Collection, embedded: Embedded, found: dict[str, Direction],
    where: Where | None, effort: int | None, seed: int, progress: Progress | None,
) -> dict[str, Split]:  # fmt: skip
    described = embedded.pairs.described()
    asked = {"text_to_image": embedded.texts, "image_to_text": embedded.images[described]}
    losses, hubs = {}, Hubs(Samples(collection))

    def fair(n: int) -> list[str]:
        row = asked["image_to_text"][n : n + 1]
        (hits,) = captions_of(collection, row, max(HIT_RANKS), hubs)
        return [hit.item.key for hit in hits]

    for name, direction in found.items():
        images = name == "text_to_image"
        losses[name] = split_loss(
            collection, asked[name], keys_of_relevant(direction.relevant, "p" if images else "t"),
            direction.ranking.first.tolist(), "image" if images else "text",
            where=where, effort=effort, seed=seed, progress=progress,
            also={} if images or hubs["text"] is None else {"hubness": fair},
        )  # fmt: skip
    return losses


def _build_indexes(collection: Collection, effort: int | None) -> list[str]:
    notes = []
    for kind in ("image", "text"):
        rows = collection.count(kind)
        if rows < SMALLEST_INDEX or not collection.build_index(kind, threshold=0):
            notes.append(f"no index over {rows} {kind}s: it needs {SMALLEST_INDEX}")
            continue
        (index,) = [i for i in collection.stats().indexes if i.kind == kind]
        if 2 * (effort or index.candidates) >= rows:
            notes.append(
                f"the index over {rows} {kind}s is passed over in favour of exact search, which "
                f"is as fast at this size; a smaller --effort than {rows // 2} makes it be used"
            )
    return notes


def _text_item(pairs: Pairs, row: int) -> Item:
    first = pairs.pictures[pairs.owners[row][0]].item
    return Item(f"t{row}", "text", first.uri, pairs.texts[row], meta=first.meta)


def _encode_file(encoder: Encoder, place: str) -> object:
    from mmsearch.images import open_picture

    image = open_picture(source_at(place), target=encoder.image_size).image
    return encoder.encode_images(encoder.prepare(image)[None])


__all__ = [
    "compare_models", "describe", "directions", "evaluate_pairs", "keys_of_relevant",
    "temporary_collection", "time_each",
]  # fmt: skip
