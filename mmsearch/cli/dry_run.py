"""`mmsearch index --dry-run`: what would be done, and how long it would take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli.options import note

if TYPE_CHECKING:
    from mmsearch.planning import Plan
    from mmsearch.types import Encoder, Sample, Skipped

SHOWN = 10


def dry_run(
    samples: Iterable[Sample | Skipped], store: Path, collection: str,
    encoder: Callable[[], Encoder], *, roots: Sequence[str], prune: bool, retry: bool,
    threads: int | None, format_: str,
) -> None:  # fmt: skip
    """Print what `mmsearch index` would do. Nothing is stored; no store is made.

    Args:
        encoder: loads it; called if the speed has to be measured.
    """
    from mmsearch.origins import read_origins
    from mmsearch.planning import measured_rate, plan

    opened = _opened(store, collection)
    made = plan(samples, opened, roots=roots, prune=prune, retry=retry)
    rate, source = read_origins(store).of(collection).rate, "the last run"
    if made.to_embed and rate is None:
        rate, source = measured_rate(made.pending, encoder(), threads=threads), "measured now"
    seconds = made.to_embed / rate if rate else 0.0
    if format_ == "table":
        _print(made, seconds, rate, source)
        return
    fields: dict[str, Any] = {
        name: getattr(made, name)
        for name in ("new", "changed", "moved", "removed", "refused", "unchanged",
                     "known_failures", "held_back")
    }  # fmt: skip
    whole = {"schema": 1, "plan": fields | {"seconds": round(seconds, 1), "rate": rate}}
    click.echo(json.dumps(whole, indent=2 if format_ == "json" else None))


def _opened(store: Path, collection: str) -> Any:
    """Return the collection, or None if there is none yet."""
    from index_store import Store
    from index_store.errors import CollectionNotFound, StoreNotFound

    try:
        return Store.open(store, readonly=True).collection(collection)
    except (StoreNotFound, CollectionNotFound):
        return None


def _print(made: Plan, seconds: float, rate: float | None, source: str) -> None:
    from mmsearch.uris import printable

    for name in ("new", "changed", "moved", "removed", "refused"):
        keys = getattr(made, name)
        for key in keys[:SHOWN]:
            click.echo(f"{name:<8}  {printable(key)}")
        if len(keys) > SHOWN:
            click.echo(f"{name:<8}  ... and {len(keys) - SHOWN:,} more")
    counts = {
        "new": len(made.new), "changed": len(made.changed), "moved": len(made.moved),
        "to be removed": len(made.removed), "refused": len(made.refused),
        "unchanged": made.unchanged, "known failures": made.known_failures,
        "gone but kept without --prune": made.held_back,
    }  # fmt: skip
    note(", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing to index")
    if rate:
        note(f"about {duration(seconds)} ({rate:,.1f} pictures a second, {source})")


def duration(seconds: float) -> str:
    """Return a length of time for the eye: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
