"""`mmsearch train --stage rerank`: a re-ranker of one's own, guarded."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import is_default, note

TAKEN = {"split", "val_split", "group_by", "force", "threads", "restart", "tokens"}


def train_rerank(
    pairs: tuple[str, ...], base: str, out: Path, options: dict[str, Any], *, format_: str,
    quiet: bool,
) -> int:  # fmt: skip
    """Train a re-ranker and print its report; options that were not given have this stage's own
    defaults.

    Raises:
        UsageError: an option was given that the stage does not have.
        BadSource: a value is out of its range, or the pairs cannot be read.
        MissingExtra: torch is not installed.
    """
    from mmsearch.cli.train import REFUSED, step_progress
    from mmsearch.errors import MissingExtra
    from mmsearch.train.pairs import train_and_heldout
    from mmsearch.train.rerank_config import RerankConfig

    own = {f.name for f in fields(RerankConfig)}
    given = {name: value for name, value in options.items() if not is_default(name)}
    if unknown := sorted(given.keys() - own - TAKEN):
        raise click.UsageError(f"--{unknown[0].replace('_', '-')} is no option of --stage rerank")
    config = RerankConfig(**{name: value for name, value in given.items() if name in own})
    train, heldout = train_and_heldout(
        pairs, split=options["split"], val_split=options["val_split"],
        group_by=options["group_by"], share=config.heldout, seed=config.seed,
    )  # fmt: skip
    try:
        from mmsearch.train.rerank_run import RerankJob, markdown, train_reranker
    except ModuleNotFoundError as error:
        raise MissingExtra(f"mmsearch train ({error.name})", "train") from error
    job = RerankJob(
        base, out, train, heldout, " ".join(pairs), config, options["force"], options["restart"],
        options["threads"], options["tokens"],
    )  # fmt: skip
    say = (lambda _: None) if quiet else note
    report = train_reranker(job, say=say, progress=step_progress(quiet))
    click.echo(json.dumps(report, indent=2) if format_ == "json" else markdown(report), nl=False)
    if report["promoted"] or report["forced"]:
        note(f"use it as --rerank fusion:{out}")
        return Exit.OK
    note(f"refused: {'; '.join(report['reasons'])}")
    return REFUSED
