"""`mmsearch reindex`: another model for a collection that is there."""

from __future__ import annotations

from pathlib import Path

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import is_terminal, note, store_options, threads_option


@click.command("reindex", short_help="Embed a collection anew with another model.")
@click.option("--model", required=True, envvar="MMSEARCH_MODEL", metavar="SPEC",
              help="The new encoder, as `mmsearch models list` names it.")  # fmt: skip
@click.option("--drop-missing", is_flag=True,
              help="Switch even if pictures cannot be read now, and forget these.")  # fmt: skip
@threads_option
@store_options
@click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
def reindex_command(
    model: str, drop_missing: bool, threads: int | None, store: Path, collection: str, quiet: bool
) -> int:
    """Embed a collection anew with another model.

    The new vectors gather beside the old ones, which answer searches until all is there; then
    one transaction switches. Interrupt it at any time and run it again: it goes on. If pictures
    cannot be read (a drive is not plugged in) nothing is switched and the exit code is 5.
    """
    from tqdm import tqdm

    from index_store import Store
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.reindexing import ReindexReport, reindex
    from mmsearch.uris import printable

    spec = resolve_model(model)
    encoder = load_encoder(spec, threads=threads)
    hidden = True if quiet or not is_terminal() else None
    with Store.open(store) as opened, tqdm(unit=" items", disable=hidden, smoothing=0.05) as bar:

        def show(report: ReindexReport) -> None:
            bar.total = report.total
            bar.update(report.embedded + report.resumed + len(report.missing) - bar.n)

        report = reindex(
            opened, collection, encoder, spec,
            drop_missing=drop_missing, threads=threads, progress=show,
        )  # fmt: skip
        if report.switched:
            bar.set_description("building the index")
            for kind in ("image", "text"):
                opened.collection(collection).build_index(kind)
    note(f"{report.embedded:,} embedded, {report.resumed:,} were there already")
    for skipped in report.missing[:5]:
        note(f"cannot be read: {printable(skipped.key)}: {printable(skipped.reason)}")
    if report.switched:
        note(f"collection {collection!r} answers with {spec} now")
        return Exit.OK
    note(
        f"{len(report.missing):,} pictures cannot be read; the old model goes on answering. Make "
        "them readable and run this again, or forget them with --drop-missing"
    )
    return Exit.SOME_FAILED
