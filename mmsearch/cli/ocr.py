"""`mmsearch ocr`: the text in pictures, read and stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import (
    build_filter,
    filter_options,
    is_terminal,
    note,
    store_options,
    threads_option,
)

if TYPE_CHECKING:
    from mmsearch.ocr import OcrReport


@click.command("ocr", short_help="Read the text in pictures, so that it can be searched.")
@filter_options
@click.option("--again", is_flag=True, help="Read those too that were read before.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="json: the report.")  # fmt: skip
@threads_option
@store_options
def ocr_command(
    where: str | None, paths: tuple[str, ...], again: bool, format_: str, threads: int | None,
    store: Path, collection: str,
) -> int:  # fmt: skip
    """Read the text in the pictures of a collection (extra: ocr) and store it.

    `search --hybrid` finds it, and so does --where 'ocr ~ "invoice"'. Latin and Chinese script.
    About a second a picture and core. Interrupt it at any time and run it again: it goes on.
    """
    condition = build_filter(where, paths)
    from index_store import Store
    from mmsearch.ocr import read_texts
    from mmsearch.uris import printable

    with Store.open(store) as opened:
        report = read_texts(
            opened.collection(collection), where=condition, again=again, threads=threads,
            progress=_progress(),
        )  # fmt: skip
    if format_ == "json":
        failed = [{"key": s.key, "reason": s.reason} for s in report.skipped]
        figures = {"read": report.read, "with_text": report.texts, "failed": failed}
        click.echo(json.dumps({"schema": 1, "report": figures}, indent=2))
    note(f"{report.read:,} pictures read, {report.texts:,} of them with text"
         + (f", {len(report.skipped):,} failed" if report.skipped else ""))  # fmt: skip
    for skipped in report.skipped[:5]:
        note(f"failed: {printable(skipped.key)}: {printable(skipped.reason)}")
    return Exit.SOME_FAILED if report.skipped else Exit.OK


def _progress() -> Callable[[OcrReport, int], None] | None:
    if not is_terminal():
        return None

    def show(report: OcrReport, total: int) -> None:
        done = report.read + len(report.skipped)
        click.echo(f"\rreading {done:,} of {total:,}", err=True, nl=done == total)

    return show
