"""`--query-log` of commands that search: questions remembered, to measure indexes with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_LOG = "mmsearch.query-log"


def query_log_option(command: F) -> F:
    """Add --query-log/--no-query-log; `log_text` does what was chosen."""
    return click.option(
        "--query-log/--no-query-log",
        default=False,
        expose_value=False,
        callback=lambda ctx, _param, value: ctx.meta.update({_LOG: value}),
        help="Remember the words of questions, on this machine alone, for mmsearch optimize to "
        "measure with  [default: no-query-log].",
    )(command)


def log_text(store: Path, collection: str, text: str | None) -> None:
    """Remember a question, if it is a text and the user wants that."""
    if text and click.get_current_context().meta.get(_LOG):
        from mmsearch.query_texts import log_query

        log_query(store, collection, text)
