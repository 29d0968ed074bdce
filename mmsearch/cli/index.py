"""`mmsearch index`: listing, embedding and storing, with progress on stderr."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import is_default, is_terminal, note, store_options, threads_option

if TYPE_CHECKING:
    from index_store import Collection, Item, Store
    from mmsearch.ingestion import IngestReport
    from mmsearch.types import Sample, Skipped


@click.command("index", short_help="Add pictures and texts to a collection.")
@click.argument("sources", nargs=-1, metavar="[PATH]...")
@store_options
@click.option(
    "--model",
    envvar="MMSEARCH_MODEL",
    metavar="SPEC",
    help="Encoder for a new collection, as `mmsearch models list` names it [default: auto].",
)
@threads_option
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Pictures per model call and per commit  [default: 16; 64 for torch on a GPU].",
)
@click.option("--split", metavar="NAME", help="Only this split of a table or data set.")
@click.option("--retry", is_flag=True, help="Try files again that failed before.")
@click.option("--prune", is_flag=True, help="Forget what is gone from a folder, however much.")
@click.option("--follow-links", is_flag=True, help="Follow symbolic links below folders.")
@click.option(
    "--inside",
    multiple=True,
    type=click.Choice(["tar", "zip", "pdf", "video", "animation", "all"]),
    help="Also the pictures inside such files found in folders (may be given several times).",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out what matches below folders, as .gitignore would: 'raw/', '*.tif'. "
    "May be given several times; lasting rules: a file .mmsearchignore.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be done and how long it would take; change nothing.",
)
@click.option("--watch", is_flag=True, help="Stay, and index what changes, until Ctrl-C.")
@click.option(
    "--settle",
    type=Between(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: how long a file must not have changed.",
)
@click.option(
    "--every",
    type=Between(min=1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: look at everything this often; network drives tell of no changes.",
)
@click.option(
    "--portable",
    is_flag=True,
    help="Keep the index in PATH/.mmsearch, where it is found from the folders below "
    "PATH, and moves with it.",
)
@click.option("--format", "format_", type=click.Choice(["table", "json", "jsonl"]),
              default="table", show_default=True,
              help="json: the report; jsonl: a line for each item once it is durable, then the "
              "report.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
def index_command(
    sources: tuple[str, ...], store: Path, collection: str, model: str | None,
    threads: int | None, batch_size: int | None, split: str | None, retry: bool, prune: bool,
    follow_links: bool, inside: tuple[str, ...], exclude: tuple[str, ...], dry_run: bool,
    watch: bool, settle: float, every: float, portable: bool, format_: str, quiet: bool,
) -> int:  # fmt: skip
    """Add pictures and texts to a collection.

    PATH is a picture, a folder, a csv, tsv, jsonl or parquet table, a data set (Karpathy's or
    COCO's JSON, Flickr8k, Flickr30k, Visual Genome, VQA, GQA), a tar, zip or PDF, a film, or - for
    paths on standard input; docs/sources.md has them all. Without PATH: the folders that were
    indexed before. What has not changed since the last run is not read again; what only moved is
    not embedded again; what is gone is forgotten. Captions beside pictures (photo.txt,
    captions.csv) are stored as texts that can be searched.

    Interrupt it at any time and run it again: what was stored stays stored. With --watch it
    goes on by itself: docs/library.md.
    """
    from mmsearch.cli.origins import present
    from mmsearch.cli.portable import follow, portable_store

    signal.signal(signal.SIGTERM, _interrupt)
    if portable:
        store = portable_store(sources)
        follow(store)
    target = _opened(store, collection, model, threads, portable=portable)
    if watch:
        from mmsearch.cli.watch import check_sources

        check_sources(sources, split, format_)
    reading = {"follow_links": follow_links, "exclude": exclude, "inside": inside}
    chosen = _Sources(present(sources, store, collection), reading | {"split": split})
    if dry_run:
        from mmsearch.cli.dry_run import dry_run as plan_run

        plan_run(
            chosen.samples(), store, collection, target.encoder, roots=chosen.roots, prune=prune,
            retry=retry, threads=threads, format_=format_,
        )  # fmt: skip
        return Exit.OK
    options: dict[str, Any] = {
        "prune": prune, "retry": retry, "batch_size": batch_size, "threads": threads,
        "committed": _print_committed if format_ == "jsonl" else None,
    }  # fmt: skip
    if watch:
        from index_store.errors import StoreLocked
        from mmsearch.cli.watch import keep_watching

        with contextlib.suppress(StoreLocked):  # that it waits for
            _run(target, chosen, options, format_, quiet)
        keep_watching(
            chosen.names, target, lambda report, built: _say(report, format_, built),
            settle=settle, every=every, reading=reading, options=options,
        )  # fmt: skip
    report = _run(target, chosen, options, format_, quiet)
    return Exit.SOME_FAILED if report.skipped else Exit.OK


class _Sources:
    """What to read, and how. All of it is looked at here: a mistyped name changes nothing."""

    def __init__(self, names: Sequence[str], how: dict[str, Any]) -> None:
        from mmsearch.readers import roots

        self.names = names
        self.stdin = sys.stdin.buffer if "-" in names else None
        self.roots = [root for name in names for root in roots(name)]
        self._how = how | {"stdin": self.stdin}

    def samples(self) -> Iterator[Sample | Skipped]:
        from mmsearch.readers import read

        return itertools.chain.from_iterable(read(name, **self._how) for name in self.names)


def _run(
    target: _opened, sources: _Sources, options: dict[str, Any], format_: str, quiet: bool
) -> IngestReport:
    from mmsearch.cli.origins import note_origin
    from mmsearch.ingestion import ingest

    listing, start = sources.samples(), time.monotonic()
    with target as (collection, encoder):
        total = None if sources.stdin or quiet or not is_terminal() else _counted(sources.samples())
        with _Bar(total, quiet) as bar:
            report = ingest(
                listing, encoder, collection, roots=sources.roots, progress=bar.show, **options
            )  # fmt: skip
            seconds = time.monotonic() - start
            note_origin(target.path, target.name, sources.names, report, seconds)
            bar.text("building the index")
            built = [collection.build_index(kind) for kind in ("image", "text")]
    _say(report, format_, any(built))
    return report


class _opened:  # noqa: N801
    """Open, or make, the collection for writing, with the encoder that it was made with.

    Used again, it loads no model twice.
    """

    def __init__(
        self, path: Path, name: str, model: str | None, threads: int | None, *, portable: bool
    ) -> None:
        self.path, self.name = path, name
        self._model, self._threads, self._portable = model, threads, portable
        self._store: Store | None = None
        self._encoders: dict[str, Any] = {}

    def encoder(self) -> Any:
        """Return the encoder that the collection has, or would get.

        Raises:
            ModelUnavailable, UnknownName, MissingExtra: it cannot be loaded.
        """
        return self._loaded(self._spec())

    def _spec(self) -> str:
        from index_store import Store
        from index_store.errors import StoreNotFound
        from mmsearch.encoders import resolve_model

        wanted = self._model or "auto"
        demanded = None if is_default("model") else self._model
        # No store: none yet, or a crash before its first commit left an empty database.
        with contextlib.suppress(StoreNotFound), Store.open(self.path, readonly=True) as reader:
            if self.name in reader.collections():
                wanted = demanded or reader.collection(self.name).model
        spec = resolve_model(wanted)
        if wanted == "auto":
            note(f"using the model {spec} (chosen by auto; see: mmsearch models list)")
        return spec

    def _loaded(self, spec: str) -> Any:
        from mmsearch.encoders import load_encoder

        if spec not in self._encoders:
            self._encoders = {spec: load_encoder(spec, threads=self._threads, towers="image")}
        return self._encoders[spec]

    def __enter__(self) -> tuple[Collection, Any]:
        from index_store import Store
        from index_store.errors import SpaceMismatch
        from mmsearch.origins import set_place

        spec = self._spec()
        # Before the store: an unknown model leaves no empty store behind.
        encoder = self._loaded(spec)
        self._store = Store.open(self.path, create=True)
        try:
            if self._portable:  # before the first picture: a run cut short may move, too
                set_place(self.path, str(self.path.parent))
            if self.name in self._store.collections():
                collection = self._store.collection(self.name)
                if collection.space != encoder.space:
                    raise SpaceMismatch(self.name, collection.space, encoder.space)
            else:
                collection = self._store.create_collection(self.name, encoder.space, model=spec)
        except BaseException:
            self._store.close()
            raise
        return collection, encoder

    def __exit__(self, *_: object) -> None:
        if self._store:
            self._store.close()


class _Bar:
    """Progress on stderr, with rate and time to go; nothing where it is no terminal."""

    def __init__(self, total: _Counter | None, quiet: bool) -> None:
        from tqdm import tqdm

        self._total = total
        self._bar = tqdm(
            unit=" files", disable=True if quiet or not is_terminal() else None, smoothing=0.05
        )
        self._failed = 0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, report: IngestReport) -> None:
        if self._total and self._total.done:
            self._bar.total = self._total.count
        self._bar.update(report.seen - self._bar.n)
        if len(report.skipped) != self._failed:
            self._failed = len(report.skipped)
            self._bar.set_postfix_str(f"{self._failed} failed")

    def text(self, what: str) -> None:
        self._bar.set_description(what)


class _Counter:
    """Counts the files to come on a thread of its own, so that the bar can tell the end."""

    def __init__(self, samples: Iterable[object]) -> None:
        self.count, self.done = 0, False
        self._samples = samples
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.count = sum(1 for _ in self._samples)
        except Exception:  # noqa: BLE001 - the run itself meets the same error and reports it
            return
        self.done = True


def _counted(samples: Iterable[object]) -> _Counter:
    return _Counter(samples)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _print_committed(items: Sequence[Item]) -> None:
    """Acknowledge: these items are on the disk."""
    for item in items:
        click.echo(json.dumps({"stored": item.key, "kind": item.kind}))


def _say(report: IngestReport, format_: str, built: bool) -> None:
    from mmsearch.uris import printable

    figures = {
        name: getattr(report, name)
        for name in ("added", "updated", "reused", "captions", "unchanged", "removed",
                     "held_back", "known_failures")
    }  # fmt: skip
    if format_ == "table":
        parts = [f"{n:,} {name.replace('_', ' ')}" for name, n in figures.items() if n]
        if report.skipped:
            parts.append(f"{len(report.skipped):,} failed")
        note(", ".join(parts) if parts else "nothing to index")
    else:
        failed = [{"key": s.key, "reason": s.reason} for s in report.skipped]
        whole = {"schema": 1, "report": figures | {"failed": failed, "index_built": built}}
        click.echo(json.dumps(whole, indent=2 if format_ == "json" else None))
    for skipped in report.skipped[:5]:
        note(f"failed: {printable(skipped.key)}: {printable(skipped.reason)}")
    if len(report.skipped) > 5:
        note(f"... and {len(report.skipped) - 5} more; see: mmsearch failures")
    if report.held_back:
        note(
            f"{report.held_back} indexed files are gone from their folder; they were kept in case "
            "a drive is not plugged in. If they are gone for good: --prune"
        )
    if report.known_failures:
        note(f"{report.known_failures} known failures were not tried again; --retry tries them")
