"""`mmsearch compact`, `rebuild`, `repair`, `move-root`: a store kept in shape."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import is_terminal, note, store_option, store_options, threads_option

if TYPE_CHECKING:
    from index_store.reports import Lost

QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, change nothing.")


@click.command("compact", short_help="Give back the room of replaced and deleted vectors.")
@click.option(
    "--least",
    type=Between(0, 100),
    default=0.0,
    show_default=True,
    metavar="PERCENT",
    help="Only if at least so many of the vectors are dead.",
)
@DRY_RUN
@QUIET
@store_options
def compact_command(least: float, dry_run: bool, quiet: bool, store: Path, collection: str) -> int:
    """Give back the room of replaced and deleted vectors.

    The living ones are copied, every checksum compared, and one transaction switches over;
    searches go on meanwhile. It needs room for the copy. An approximate index is built anew.
    """
    from tqdm import tqdm

    from index_store import Store
    from index_store.types import KINDS

    if dry_run:
        with Store.open(store, readonly=True) as opened:
            stats = opened.collection(collection).stats()
        note(f"{stats.dead:,} dead vectors, {stats.dead * stats.space.dim * 2 / 1e6:,.1f} MB")
        return Exit.OK
    hidden = True if quiet or not is_terminal() else None
    with Store.open(store) as opened, tqdm(unit=" vectors", disable=hidden) as bar:
        chosen = opened.collection(collection)
        done = [chosen.compact(k, least=least / 100, progress=bar.update) for k in KINDS]
        bar.set_description("building the index")
        for kind, report in zip(KINDS, done, strict=True):
            if report:
                chosen.build_index(kind)
    dead = sum(r.dead for r in done if r)
    freed = sum(r.freed for r in done if r)
    note(f"{dead:,} dead vectors removed, {freed / 1e6:,.1f} MB given back" if dead
         else "nothing to give back")  # fmt: skip
    return Exit.OK


@click.command("rebuild", short_help="Build the approximate index anew from the vectors.")
@QUIET
@store_options
def rebuild_command(quiet: bool, store: Path, collection: str) -> int:
    """Build the approximate index anew from the stored vectors; no model is needed.

    Where there are too few vectors for one, searches are exact. Searches go on meanwhile.
    """
    from index_store import Store

    with Store.open(store) as opened:
        chosen = opened.collection(collection)
        for kind in ("image", "text"):
            chosen.drop_index(kind)
            if not quiet and is_terminal():
                note(f"building the index of {chosen.count(kind):,} {kind}s")
            built = chosen.build_index(kind)
            note(f"{kind}s: " + ("index built" if built else "searched exactly, without an index"))
    return Exit.OK


@click.command("repair", short_help="Mend a damaged store and embed again what was lost.")
@click.option("--no-embed", is_flag=True, help="Only mend; lost vectors are not embedded again.")
@DRY_RUN
@threads_option
@QUIET
@store_option
def repair_command(
    no_embed: bool, dry_run: bool, threads: int | None, quiet: bool, store: Path
) -> int:
    """Mend a damaged store and embed again what was lost; all collections.

    What is sound is kept. Damaged files and rows are set aside in the store's folder
    "quarantine". Vectors that were lost are embedded again from pictures and texts; what
    cannot be read now becomes a failure, which `mmsearch index` tries again, and the exit code
    is 5. A sound store is not changed. If nothing can be saved: mmsearch restore.
    """
    from index_store import Store
    from index_store.repair import repair
    from mmsearch.uris import printable

    if dry_run:
        with Store.open(store, readonly=True) as opened:
            problems = opened.verify(full=True)
        for problem in problems:
            click.echo(f"{printable(problem.where)}  {printable(problem.what)}")
        note(f"{len(problems):,} problems" if problems else "no damage found")
        return Exit.NO_INDEX if problems else Exit.OK
    report = repair(store)
    if not report.problems:
        note("no damage found; nothing was changed")
        return Exit.OK
    note(f"{len(report.problems):,} problems mended; what was damaged is in {report.quarantine}")
    whole = [lost for lost in report.lost if lost.whole]
    left = len(report.lost) - (0 if no_embed else _embedded(store, whole, threads, quiet))
    with Store.open(store) as opened:
        for name in opened.collections():
            for kind in ("image", "text"):
                opened.collection(name).build_index(kind)
    if left:
        note(f"{left:,} items are lost for now; see: mmsearch failures. mmsearch index FOLDER "
             "embeds them again")  # fmt: skip
    return Exit.SOME_FAILED if left else Exit.OK


def _embedded(store: Path, lost: Sequence[Lost], threads: int | None, quiet: bool) -> int:
    """Embed again what a repair has lost; return how many items that were."""
    from tqdm import tqdm

    from index_store import Store
    from mmsearch.encoders import load_encoder
    from mmsearch.errors import MmsearchError
    from mmsearch.repairing import embed_again

    done = 0
    hidden = True if quiet or not is_terminal() else None
    with Store.open(store) as opened, tqdm(unit=" items", total=len(lost), disable=hidden) as bar:
        for name in sorted({one.collection for one in lost}):
            items = [one.item for one in lost if one.collection == name]
            chosen = opened.collection(name)
            try:
                encoder = load_encoder(chosen.model, threads=threads)
                missing = embed_again(chosen, items, encoder, threads=threads, progress=bar.update)
            except MmsearchError as error:
                note(f"collection {name!r}: nothing can be embedded again: {error}")
                continue
            done += len(items) - len(missing)
    if done:
        note(f"{done:,} items embedded again")
    return done


@click.command("move-root", short_help="Tell the store that a folder of pictures has moved.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@DRY_RUN
@store_options
def move_root_command(old: str, new: str, dry_run: bool, store: Path, collection: str) -> int:
    """Tell the store that the folder OLD is now NEW.

    Pictures, captions and failures below OLD get their new names in one transaction; nothing
    is read or embedded again, and neither folder need be there. Exits with 1 if nothing that is
    indexed lies below OLD.
    """
    from index_store import Store
    from mmsearch.moving import move_root
    from mmsearch.origins import moved
    from mmsearch.uris import printable

    with Store.open(store, readonly=dry_run) as opened:
        report = move_root(opened.collection(collection), old, new, dry_run=dry_run)
        if not dry_run:
            moved(store, os.path.abspath(old), os.path.abspath(new))  # noqa: PTH100
    if report.example is None:
        note(f"nothing that is indexed lies below {printable(old)}")
        return Exit.NO_HITS
    would = "would be moved" if dry_run else "moved"
    before, after = report.example
    note(f"{report.items:,} items and {report.failures:,} failures {would}, as "
         f"{printable(before)} to {printable(after)}")  # fmt: skip
    return Exit.OK
