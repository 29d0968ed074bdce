"""Options that commands share, and what they open."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.config import default_store

if TYPE_CHECKING:
    from index_store import Where

F = TypeVar("F", bound=Callable[..., Any])
_DAEMON = "mmsearch.daemon"


def store_options(command: F) -> F:
    """Add --store and --collection."""
    command = click.option(
        "--collection",
        envvar="MMSEARCH_COLLECTION",
        default="default",
        show_default=True,
        metavar="NAME",
        help="Which collection of the store.",
    )(command)
    return store_option(command)


def store_option(command: F) -> F:
    """Add --store, for commands about all collections."""
    return click.option(
        "--store",
        envvar="MMSEARCH_HOME",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_store,
        callback=_followed,
        metavar="DIR",
        help="Folder of the index [default: $MMSEARCH_HOME, else .mmsearch here or in a folder "
        "above, else the user's data folder].",
    )(command)


def _followed(ctx: click.Context, _: click.Parameter, store: Path) -> Path:
    """Return the store; a portable one whose folder has moved is told so first."""
    from mmsearch.origins import PORTABLE

    if store.name == PORTABLE and not ctx.resilient_parsing:
        from mmsearch.cli.portable import follow

        follow(store)
    return store


def threads_option(command: F) -> F:
    return click.option(
        "--threads",
        envvar="MMSEARCH_THREADS",
        type=click.IntRange(min=1),
        metavar="N",
        help="CPU threads [default: the cores of this machine].",
    )(command)


def daemon_option(command: F) -> F:
    """Add --daemon/--no-daemon; `wants_daemon` says what was chosen."""
    return click.option(
        "--daemon/--no-daemon",
        envvar="MMSEARCH_DAEMON",
        default=False,
        expose_value=False,
        callback=lambda ctx, _param, value: ctx.meta.update({_DAEMON: value}),
        help="Let a background process keep the model warm (see: mmsearch daemon --help)  "
        "[default: no-daemon].",
    )(command)


def wants_daemon() -> bool:
    """Return what --daemon, $MMSEARCH_DAEMON or a file of settings say for this command."""
    return bool(click.get_current_context().meta.get(_DAEMON, False))


def filter_options(command: F) -> F:
    """Add --where and --path."""
    command = click.option(
        "--path",
        "paths",
        multiple=True,
        metavar="GLOB",
        help="Only files whose path matches, as in 'beach/*' (may be given several times).",
    )(command)
    return click.option(
        "--where",
        metavar="FILTER",
        help="""Only items whose metadata match, as in 'width > 2000 and camera ~ "canon"'.""",
    )(command)


def build_filter(where: str | None, paths: tuple[str, ...]) -> Where | None:
    """Return the filter that --where and --path say together, or None.

    Raises:
        BadFilter: --where cannot be read.
    """
    if where is None and not paths:
        return None
    from index_store.where import AllOf, AnyOf, path_glob
    from mmsearch.filters import parse_where

    parts: list[Where] = []
    if where is not None:
        parts.append(parse_where(where))
    if paths:
        parts.append(AnyOf(*(path_glob(p) for p in paths)))
    return AllOf(*parts)


def is_default(option: str) -> bool:
    """Return whether an option's value is from a file of settings, or nowhere."""
    from click.core import ParameterSource

    source = click.get_current_context().get_parameter_source(option)
    return source in (ParameterSource.DEFAULT_MAP, ParameterSource.DEFAULT, None)


def note(message: str) -> None:
    """Say something that is no result: on stderr."""
    click.echo(f"mmsearch: {message}", err=True)


def is_terminal() -> bool:
    return sys.stderr.isatty()
