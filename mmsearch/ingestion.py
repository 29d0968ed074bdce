"""Pictures and texts into a collection, forward only: list, look, prepare, encode, commit.

One batch is one transaction, so whatever stops the run costs the batch under way at most; run
again, it goes on from there. What has not changed is not opened, and what has only moved or
been copied is not embedded again: its content hash is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Collection as Sized
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from index_store import Collection, Compare, Failure, Item, Prefix
from index_store.types import Stamp, Vectors
from index_store.where import AllOf
from mmsearch.cores import usable_cores
from mmsearch.errors import BadPicture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.sources import place_of, source_at, source_hash
from mmsearch.stamps import has_lost_captions, is_same
from mmsearch.types import Array, Encoder, Sample, Skipped
from mmsearch.uris import is_part, is_text, path_of, printable, uri_of

BATCH = 16  # pictures; more costs memory and gains nothing on a CPU
LOOKUP = 512  # samples whose stamps are asked for at once
# What a picture's pixels say, and what we said about them; taken over for a copy, which is not
# decoded.
FROM_PIXELS = ("width", "height", "format", "tags", "cluster", "ocr")
# More than this many of the pictures gone at once looks like a drive that is not there.
BRAKE_COUNT, BRAKE_PART = 10, 0.2
_CAME_ALONG = re.compile(r"#caption-\d+$")  # the key of a caption that a source has brought


@dataclass(slots=True)
class IngestReport:
    """What a run has done so far; handed to `progress` after every commit.

    added, updated: pictures and texts stored; `reused` of them without embedding anything.
    captions: texts stored with pictures. unchanged: looked at and left. known_failures:
    failed before, unchanged since, not tried. removed: gone from the folder, or left out of it
    now, and so from the collection. held_back: gone, but so many that they were kept. skipped:
    failed now.
    """

    added: int = 0
    updated: int = 0
    reused: int = 0
    captions: int = 0
    unchanged: int = 0
    known_failures: int = 0
    removed: int = 0
    held_back: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """Samples dealt with, whatever became of them."""
        stored = self.added + self.updated
        return stored + self.unchanged + self.known_failures + len(self.skipped)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One sample ready to be encoded, its item completed.

    array: None for a text and for a twin. twin: key of an item with the same content, or "".
    stored: what the collection has under its key, or None.
    """

    sample: Sample
    item: Item
    array: Array | None = None
    twin: str = ""
    stored: Stamp | None = None

    @property
    def captions(self) -> tuple[str, ...]:
        return self.sample.captions


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch with its vectors. vectors: blocks of rows, for `items` and then for `captions`."""

    skipped: list[Skipped]
    ready: list[Prepared]
    items: list[Item]
    captions: list[Item]
    vectors: list[Vectors]


def ingest(
    samples: Iterable[Sample | Skipped],
    encoder: Encoder,
    collection: Collection,
    *,
    roots: Sequence[str] = (),
    prune: bool = False,
    retry: bool = False,
    batch_size: int | None = None,
    threads: int | None = None,
    progress: Callable[[IngestReport], None] | None = None,
    committed: Callable[[Sequence[Item]], None] | None = None,
) -> IngestReport:
    """Store what the samples hold and return what was done.

    Args:
        samples: from `mmsearch.readers.read`.
        roots: keys of folders that the samples list in full: items below them that were not
            listed are removed, unless they are suspiciously many.
        prune: remove them however many they are.
        retry: try what failed before, even if it has not changed.
        batch_size: pictures per encoder call and per transaction; None: the encoder's own
            `batch`, where it has one, else 16.
        threads: to read and decode; default: the cores of this machine.
        progress: called with the report after every commit.
        committed: called with the items of each transaction once they are durable.

    Raises:
        SpaceMismatch: the collection holds vectors of another encoder.
        StoreFull, WriteFailed: what was acknowledged before is kept.
    """
    collection.check_space(encoder.space)
    run = _Run(encoder, collection, retry)
    threads = threads or usable_cores()
    batch_size = batch_size or getattr(encoder, "batch", None) or BATCH
    prepared = map_ahead(run.prepare, run.changed(samples), threads=threads, ahead=3 * batch_size)
    # The model works on the next batch while this one is forced to the disk.
    encoded = map_ahead(run.encode, batched(prepared, batch_size), threads=1, ahead=2)
    try:
        for batch in encoded:
            items = run.store(batch)
            if committed and items:
                committed(items)
            if progress:
                progress(run.report)
    finally:
        encoded.close()
        prepared.close()
    run.remove_gone(roots, prune)
    if progress:
        progress(run.report)
    return run.report


class _Run:
    """One pass over the samples."""

    def __init__(self, encoder: Encoder, collection: Collection, retry: bool) -> None:
        self.report = IngestReport()
        self._encoder = encoder
        self._collection = collection
        self._failed = {f.key: f.stamp for f in collection.failures()}
        self._retry = retry
        self._seen: set[str] = set()
        # Below these nothing is known: folders that could not be read. Keys and URIs.
        self._unknown: tuple[str, ...] = ()
        self._stored_contents: set[str] = set()
        # Files with pictures inside that were listed, and those not to the end. URIs.
        self._files: set[str] = set()
        self._damaged: set[str] = set()

    def changed(
        self, samples: Iterable[Sample | Skipped]
    ) -> Iterator[tuple[Sample, Stamp | None] | Skipped]:
        """Pass on what must be looked at, with what is stored under its key."""
        for chunk in batched(samples, LOOKUP):
            keys = [s.item.key for s in chunk if isinstance(s, Sample)]
            stamps = self._collection.stamps(keys)
            for sample in chunk:
                key = sample.item.key if isinstance(sample, Sample) else sample.key
                stamp = sample.item.stamp if isinstance(sample, Sample) else sample.stamp
                if key in self._seen:
                    continue
                self._seen.add(key)
                if isinstance(sample, Sample) and not sample.path and is_part(sample.item.uri):
                    self._files.add(sample.item.uri.partition("#")[0])
                elif isinstance(sample, Skipped) and key.endswith("#end"):
                    self._damaged.add(sample.uri)  # what follows is not known
                if key.endswith("/"):
                    self._unknown += (key, f"{uri_of(key.rstrip('/'))}/")
                stored = stamps.get(key)
                if self._failed.get(key) == stamp and stamp and not self._retry:
                    self.report.known_failures += 1
                elif isinstance(sample, Skipped):
                    yield sample
                elif stored and is_same(stored.stamp, sample):
                    self.report.unchanged += 1
                else:
                    yield sample, stored

    def prepare(self, entry: tuple[Sample, Stamp | None] | Skipped) -> Prepared | Skipped:
        """Do all that one sample needs before the model; called from threads."""
        if isinstance(entry, Skipped):
            return entry
        sample, stored = entry
        item = sample.item
        if item.kind == "text":
            return Prepared(sample, item, stored=stored)
        from mmsearch.images import open_picture, read_meta
        from mmsearch.xmp import sidecar_meta

        try:
            source = source_at(place_of(sample))
            item = replace(item, content=source_hash(source))
            beside = sidecar_meta(sample.sidecar) if sample.sidecar else {}
            twin = self._collection.keys_by_content([item.content]).get(item.content, "")
            if twin and (alike := self._collection.get([twin])):
                meta = {k: v for k, v in alike[0].meta.items() if k in FROM_PIXELS}
                # Not the twin's other fields: they may be from its own sidecar.
                item = replace(item, meta={**item.meta, **meta, **read_meta(source), **beside})
                return Prepared(sample, item, twin=twin, stored=stored)
            picture = open_picture(source, target=self._encoder.image_size)
            # A page or frame comes as plain pixels: its reader knows better what it was.
            own = {"format": item.meta["format"]} if "format" in item.meta else {}
            item = replace(item, meta={**item.meta, **picture.meta, **own, **beside})
            array = self._encoder.prepare(picture.image)
            return Prepared(sample, item, array, stored=stored)
        except BadPicture as error:
            return Skipped(item.key, item.uri, str(error), item.stamp)
        except OSError as error:
            return Skipped(item.key, item.uri, error.strerror or str(error), item.stamp)

    def encode(self, batch: Sequence[Prepared | Skipped]) -> Encoded:
        """Return the batch with its vectors; called from a thread, one batch at a time."""
        skipped = [p for p in batch if isinstance(p, Skipped)]
        ready = [p for p in batch if isinstance(p, Prepared)]
        items, vectors = self._encode(ready)
        captions = [i for p in ready for i in caption_items(p)]
        if captions:
            vectors.append(self._encoder.encode_texts([c.text for c in captions]))
        return Encoded(skipped, ready, items, captions, vectors)

    def store(self, batch: Encoded) -> list[Item]:
        """Commit one batch; return the items that are durable now."""
        ready, items, captions = batch.ready, batch.items, batch.captions
        self._store_failures(batch.skipped)
        touched = [p.item for p in ready if p.twin == p.item.key]
        self._drop_old_captions(ready, {c.key for c in captions})
        self._collection.add([*items, *captions], _stack(batch.vectors, self._encoder))
        # After its captions: killed in between, the old stamp makes the next run do it again.
        self._collection.update(touched)
        self._stored_contents.update(i.content for i in items if i.content)
        self.report.added += sum(p.stored is None for p in ready)
        self.report.updated += sum(p.stored is not None for p in ready)
        self.report.reused += sum(bool(p.twin) for p in ready)
        self.report.captions += len(captions)
        return [*items, *touched, *captions]

    def remove_gone(self, roots: Sequence[str], prune: bool) -> None:
        """Remove what lies under the roots and was not listed, within reason."""
        for root in roots:
            base = root.rstrip("/") + "/"
            uris = uri_of(base).rstrip("/") + "/"
            below = AllOf(Prefix("uri", uris), Compare("kind", "=", "image"))
            keys = self._collection.keys(below)
            gone = [k for k in keys if k not in self._seen and not k.startswith(self._unknown)]
            gone = [k for k in gone if not self._in_kept_file(k)]
            if gone:
                self._remove(gone, len(keys), prune)
            old = [k for k in self._failed if k.startswith(base) and k not in self._seen]
            self._collection.clear_failures(old)
            self._remove_gone_parts(uri_of(root))

    def _remove_gone_parts(self, root: str) -> None:
        """Remove what is no longer inside a file that was listed to its end."""
        for uri in self._files - self._damaged:
            if uri == root or uri.startswith(root.rstrip("/") + "/"):
                inside = AllOf(Prefix("uri", f"{uri}#"), Compare("kind", "=", "image"))
                keys = self._collection.keys(inside)
                # The rows of a table: this run may have looked at one split of it.
                gone = [k for k in keys if k not in self._seen and "#row-" not in k]
                if gone:
                    self._remove(gone, len(keys), True)

    def _in_kept_file(self, key: str) -> bool:
        """Return whether an item is a part of another file that is still there.

        A folder need not list what is in the files below it.
        """
        if "#" not in key:
            return False
        (item,) = self._collection.get([key])
        return is_part(item.uri) and Path(path_of(item.uri)).exists()

    def _remove(self, gone: list[str], of: int, prune: bool) -> None:
        stamps = self._collection.stamps(gone)
        moved = [k for k in gone if stamps[k].content in self._stored_contents]
        lost = [k for k in gone if stamps[k].content not in self._stored_contents]
        # A file that is there and was not listed: the user's rules leave it out now.
        out = {i.key for i in self._collection.get(lost) if Path(path_of(i.uri)).exists()}
        lost = [k for k in lost if k not in out]
        many = len(lost) > BRAKE_COUNT and len(lost) > BRAKE_PART * of
        if lost and (many or len(lost) == of) and not prune:
            self.report.held_back += len(lost)
            lost = []
        keys = [*moved, *out, *lost]
        self._collection.delete([k for key in keys for k in (key, *self._captions(key))])
        self.report.removed += len(out) + len(lost)

    def _encode(self, ready: Sequence[Prepared]) -> tuple[list[Item], list[Vectors]]:
        """Return the items to add, but for captions, and blocks of their vectors in order."""
        copies = [p for p in ready if p.twin and p.twin != p.item.key]
        texts = [p for p in ready if p.item.kind == "text"]
        fresh = [p for p in ready if p.array is not None]
        vectors = []
        if copies:
            vectors.append(self._collection.vectors([p.twin for p in copies]))
        if texts:
            vectors.append(self._encoder.encode_texts([p.item.text for p in texts]))
        if fresh:
            # Several copies of one picture in one batch: one embedding.
            first = {p.item.content: n for n, p in reversed(list(enumerate(fresh)))}
            chosen = sorted(first.values())
            rows = self._encoder.encode_images(
                np.stack([fresh[n].array for n in chosen])  # type: ignore[misc]
            )
            vectors.append(rows[[chosen.index(first[p.item.content]) for p in fresh]])
        return [p.item for p in (*copies, *texts, *fresh)], vectors

    def _store_failures(self, skipped: Sequence[Skipped]) -> None:
        self._collection.add_failures(
            [Failure(_text(s.key), _text(s.uri), _text(s.reason), s.stamp) for s in skipped]
        )
        self.report.skipped += skipped

    def _drop_old_captions(self, ready: Sequence[Prepared], new: Sized[str]) -> None:
        for p in ready:
            if p.stored is None:
                continue
            told = bool(p.captions) or has_lost_captions(p.stored.stamp, p.sample)
            other = p.stored.content != p.item.content  # what a model wrote is of another picture
            old = [
                k for k in self._captions(p.item.key)
                if (told if _CAME_ALONG.search(k) else other) and k not in new
            ]  # fmt: skip
            if old:
                self._collection.delete(old)

    def _captions(self, key: str) -> list[str]:
        return self._collection.keys(Prefix("key", f"{key}#caption-"))


def caption_items(prepared: Prepared) -> list[Item]:
    """Return a text item for each caption; its meta `picture` is the picture's key."""
    item = prepared.item
    return [
        Item(f"{item.key}#caption-{n}", "text", item.uri, text, meta={"picture": item.key})
        for n, text in enumerate(prepared.captions)
    ]


def _stack(blocks: Sequence[Vectors], encoder: Encoder) -> Vectors:
    return np.concatenate(blocks) if blocks else np.empty((0, encoder.space.dim), np.float32)


def _text(text: str) -> str:
    return text if is_text(text) else printable(text)
