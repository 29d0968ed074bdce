"""`mmsearch index --watch`: an ordinary run, then one for each batch of changes, until Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mmsearch.cli.options import note

if TYPE_CHECKING:
    from index_store import Collection
    from mmsearch.ingestion import IngestReport
    from mmsearch.types import Encoder
    from mmsearch.watching import Batch

Opened = AbstractContextManager[tuple["Collection", "Encoder"]]
Said = Callable[["IngestReport", bool], None]


def keep_watching(
    folders: Sequence[str], opened: Opened, say: Said, *, settle: float, every: float,
    reading: dict[str, Any], options: dict[str, Any],
) -> NoReturn:  # fmt: skip
    """Keep a collection like the folders until interrupted.

    Between batches the store is closed, so that other processes can write to it.

    Args:
        folders: to watch.
        opened: opens the collection with its encoder; used again for every batch.
        say: tells the user what a batch did, and whether an index was built.
        settle, every: see `mmsearch.watching.Watcher`.
        reading: options of `mmsearch.readers.read`.
        options: of `ingest`.

    Raises:
        BadSource, StoreError: as `mmsearch index`; but a store that is busy is waited for.
    """
    from index_store.errors import StoreLocked
    from mmsearch.uris import printable
    from mmsearch.watching import Watcher

    roots = [os.path.realpath(folder) for folder in folders]
    with Watcher(roots, settle=settle, every=every, say=note) as watcher:
        waiting = False
        note(f"watching {', '.join(printable(r) for r in roots)}; Ctrl-C ends it")
        for batch in watcher.batches():
            if reading[
                "follow_links"
            ]:  # what lies behind a link has its place only in a walk from the root
                batch = _whole(batch)
            try:
                with opened as (collection, encoder):
                    report = _look(batch, collection, encoder, reading, options)
                    built = [collection.build_index(kind) for kind in ("image", "text")]
            except StoreLocked:
                if not waiting:
                    note("another process is writing to the store; waiting for it")
                waiting = True
                watcher.changes.put_back(batch)
                continue
            waiting = False
            if report.seen - report.unchanged - report.known_failures or report.removed:
                say(report, any(built))
    raise AssertionError("batches have no end")


def check_sources(sources: Sequence[str], split: str | None, format_: str) -> None:
    """Complain about what cannot be watched.

    Raises:
        click.UsageError: a source is no folder, or the output would be many JSON documents.
    """
    if format_ == "json":
        raise click.UsageError("--watch reports again and again; take --format jsonl")
    for source in sources:
        if not Path(source).is_dir() or split is not None:
            raise click.UsageError(f"--watch takes folders; {source} is none")


def _look(
    batch: Batch, collection: Collection, encoder: Encoder, reading: dict[str, Any],
    options: dict[str, Any],
) -> IngestReport:  # fmt: skip
    from mmsearch.ingestion import ingest
    from mmsearch.pruning import forget, missing
    from mmsearch.readers.containers import chosen_kinds
    from mmsearch.readers.folder import read_folder
    from mmsearch.uris import key_of

    kinds = chosen_kinds(reading["inside"])
    samples = chain.from_iterable(
        read_folder(root, **{**reading, "inside": kinds}, within=folder)
        for root, folder in batch.folders
    )
    roots = [key_of(folder) for _, folder in batch.folders]
    report = ingest(samples, encoder, collection, roots=roots, **options)
    if report.held_back and batch.gone:  # many, but the system said of each that it was deleted
        lost = [item.key for item in missing(collection, batch.gone)]
        removed = forget(collection, lost)
        report.removed += removed
        report.held_back = max(report.held_back - removed, 0)
    return report


def _whole(batch: Batch) -> Batch:
    from mmsearch.watching import Batch

    return Batch(tuple({(root, root): None for root, _ in batch.folders}), batch.gone)
