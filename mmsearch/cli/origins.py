"""The folders that a collection is made of: those that `mmsearch index` is given, or knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli.options import note

if TYPE_CHECKING:
    from mmsearch.ingestion import IngestReport

_TELLING = 50  # pictures; the speed of fewer says little


def present(sources: Sequence[str], store: Path, collection: str) -> tuple[str, ...]:
    """Return what to read: the sources, or else the known folders, without those offline.

    Raises:
        BadSource: all of them are offline.
        click.UsageError: there are none.
    """
    from mmsearch.errors import BadSource
    from mmsearch.origins import read_origins
    from mmsearch.uris import printable

    known = read_origins(store).of(collection).folders
    wanted = tuple(sources) or known
    if not wanted:
        raise click.UsageError("name what to index: mmsearch index PATH...")
    offline = [s for s in wanted if os.path.realpath(s) in known and not os.path.lexists(s)]
    if len(offline) == len(wanted):
        raise BadSource(
            f"{printable(offline[0])} is offline; what is indexed of it is kept "
            "(gone for good: mmsearch prune --offline PATH)"
        )
    for source in offline:
        note(f"{printable(source)} is offline; what is indexed of it is kept")
    return tuple(s for s in wanted if s not in offline)


def note_origin(
    store: Path, collection: str, sources: Sequence[str], report: IngestReport, seconds: float
) -> None:
    """Remember, beside the store, the folders of a run that has ended, and its speed."""
    from mmsearch.origins import remember

    folders = [os.path.realpath(s) for s in sources if Path(s).is_dir()]
    embedded = report.added + report.updated - report.reused
    rate = embedded / seconds if embedded >= _TELLING else None
    try:
        remember(store, collection, folders=folders, rate=rate)
    except OSError as error:
        note(f"the folders could not be noted beside the store: {error.strerror or error}")
