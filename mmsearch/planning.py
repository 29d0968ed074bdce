"""What a run of `ingest` would do, and how long that would take; nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from index_store import Collection, Compare, Prefix, Store
from index_store.where import AllOf
from mmsearch.ingestion import BRAKE_COUNT, BRAKE_PART, LOOKUP, ingest
from mmsearch.pipeline import batched
from mmsearch.stamps import is_same
from mmsearch.types import Encoder, Sample, Skipped
from mmsearch.uris import is_part, path_of, uri_of

MEASURED = 24  # pictures that are embedded to learn the speed


@dataclass(slots=True)
class Plan:
    """What a run would do; keys, but for counts.

    moved: new pictures that have size and time of one that is gone: renamed, most likely, and then
    not embedded. refused: cannot be indexed, as their name says. held_back: gone, but so many that
    they would be kept. pending: samples that would be read.
    """

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unchanged: int = 0
    known_failures: int = 0
    held_back: int = 0
    pending: list[Sample] = field(default_factory=list)

    @property
    def to_embed(self) -> int:
        return len(self.new) + len(self.changed)


def plan(
    samples: Iterable[Sample | Skipped], collection: Collection | None, *,
    roots: Sequence[str] = (), prune: bool = False, retry: bool = False,
) -> Plan:  # fmt: skip
    """Return what `ingest` would do with the same arguments; no picture is opened.

    Args:
        collection: None if there is none yet.
    """
    made, seen, unknown = Plan(), set[str](), list[str]()
    failed = {f.key: f.stamp for f in collection.failures()} if collection else {}
    new: list[Sample] = []
    for chunk in batched(samples, LOOKUP):
        keys = [s.item.key for s in chunk if isinstance(s, Sample)]
        stamps = collection.stamps(keys) if collection else {}
        for sample in chunk:
            key, stamp = _name(sample)
            if key in seen:
                continue
            seen.add(key)
            if key.endswith("/"):
                unknown.append(key)
            known = stamps.get(key)
            if failed.get(key) == stamp and stamp and not retry:
                made.known_failures += 1
            elif isinstance(sample, Skipped):
                made.refused.append(key)
            elif known is None:
                new.append(sample)
            elif is_same(known.stamp, sample):
                made.unchanged += 1
            else:
                made.changed.append(key)
                made.pending.append(sample)
    if collection:
        _find_gone(made, new, collection, roots, seen, tuple(unknown), prune)
        moved = set(made.moved)
        new = [s for s in new if s.item.key not in moved]
    made.new += [s.item.key for s in new]
    made.pending = [*new, *made.pending]
    return made


def measured_rate(
    samples: Sequence[Sample], encoder: Encoder, *, threads: int | None = None
) -> float | None:
    """Return how many of these pictures are stored in a second here; None for none.

    Some of them, evenly spread, are put into a store of their own, which is deleted then.
    """
    step = max(1, len(samples) // MEASURED)
    chosen = [s for s in samples[::step] if s.item.kind == "image"][:MEASURED]
    if not chosen:
        return None
    with TemporaryDirectory(prefix="mmsearch-") as folder, Store.open(folder, create=True) as store:
        collection = store.create_collection("measured", encoder.space)
        ingest(chosen[:2], encoder, collection, threads=threads)  # the first call costs more
        start = time.perf_counter()
        ingest(chosen, encoder, collection, threads=threads, retry=True)
        return max(len(chosen) - 2, 1) / (time.perf_counter() - start)


def _find_gone(
    made: Plan, new: Sequence[Sample], collection: Collection, roots: Sequence[str],
    seen: set[str], unknown: tuple[str, ...], prune: bool,
) -> None:  # fmt: skip
    """Tell what is gone from what has moved, as `ingest` does."""
    arrived = {s.item.stamp.partition("+")[0]: s for s in new}
    for root in roots:
        uris = uri_of(root.rstrip("/") + "/").rstrip("/") + "/"
        keys = collection.keys(AllOf(Prefix("uri", uris), Compare("kind", "=", "image")))
        gone = [k for k in keys if k not in seen and not k.startswith(unknown)]
        stamps = collection.stamps(gone)
        there = {i.key for i in collection.get(gone) if Path(path_of(i.uri)).exists()}
        parts = {i.key for i in collection.get(gone) if is_part(i.uri)}
        lost = []
        for key in gone:
            stamp = stamps[key].stamp.partition("+")[0]
            if key in there:
                made.removed += [key] if key not in parts else []
            elif sample := arrived.pop(stamp, None):
                made.moved.append(sample.item.key)
            else:
                lost.append(key)
        many = len(lost) > BRAKE_COUNT and len(lost) > BRAKE_PART * len(keys)
        if lost and (many or len(lost) == len(keys)) and not prune:
            made.held_back += len(lost)
        else:
            made.removed += lost


def _name(sample: Sample | Skipped) -> tuple[str, str]:
    item = sample.item if isinstance(sample, Sample) else sample
    return item.key, item.stamp
