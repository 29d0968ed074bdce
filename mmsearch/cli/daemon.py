"""`mmsearch daemon`: status, stop, run."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.config import settings
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import note

if TYPE_CHECKING:
    from mmsearch.daemon.client import Connection

GOING_S = 10.0


def _idle_minutes() -> object:
    return settings().get("daemon_idle", 15)  # checked as the option is


@click.group("daemon", short_help="Look at the processes that keep models warm, or stop them.")
def daemon_command() -> None:
    """Look at the processes that keep models warm, or stop them.

    With `daemon = true` in a file of settings, $MMSEARCH_DAEMON=1 or search --daemon, the first
    search starts one for its model, and those that follow load none. It holds the model and no
    store, talks only to its user, and leaves after `daemon-idle` minutes without a question.
    """


@daemon_command.command("status")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print.")  # fmt: skip
def status_command(format_: str) -> int:
    """List the daemons of this user. Exits with 1 if there is none."""
    found = _running()
    if format_ == "json":
        daemons = [connection.said for connection in found]
        click.echo(json.dumps({"schema": 1, "daemons": daemons}, indent=2))
    for connection in found:
        said = connection.said
        if format_ == "table":
            fresh = "" if said["fresh"] else ", its model has changed on the disk"
            click.echo(f"{said['pid']}  {said['spec']}  {said['answered']} answers, up "
                       f"{said['up_s']:.0f} s, idle {said['idle_s']:.0f} s{fresh}")  # fmt: skip
        connection.close()
    if not found:
        note("no daemon is running")
    return Exit.OK if found else Exit.NO_HITS


@daemon_command.command("stop")
def stop_command() -> int:
    """Stop the daemons of this user. Exits with 1 if there is none."""
    found = _running()
    for connection in found:
        connection.stop()
        connection.close()
    until = time.monotonic() + GOING_S
    while time.monotonic() < until and any(c.file.exists() for c in found):
        time.sleep(0.02)
    note(f"stopped {len(found)}" if found else "no daemon is running")
    return Exit.OK if found else Exit.NO_HITS


@daemon_command.command("run")
@click.argument("spec")
@click.option("--daemon-idle", "idle", envvar="MMSEARCH_DAEMON_IDLE", metavar="MIN",
              type=Between(0.001), default=_idle_minutes,
              help="Leave after so many minutes without a question  [default: 15].")  # fmt: skip
@click.option("--threads", envvar="MMSEARCH_DAEMON_THREADS", type=click.IntRange(min=1), default=1,
              show_default=True, metavar="N", help="CPU threads for the model.")  # fmt: skip
def run_command(spec: str, idle: float, threads: int) -> int:
    """Keep the model SPEC warm, in the foreground. A search starts one by itself.

    Exits with 1 if there is one already.
    """
    from mmsearch.daemon.endpoint import Endpoint, UnsafePlace, runtime_folder
    from mmsearch.daemon.server import AlreadyRunning, serve
    from mmsearch.encoders import resolve_model

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    resolved = resolve_model(spec)
    try:
        serve(resolved, Endpoint(resolved, runtime_folder()), idle_s=60 * idle, threads=threads)
    except AlreadyRunning:
        note(f"a daemon has {resolved} already")
        return Exit.NO_HITS
    except UnsafePlace as error:
        raise click.ClickException(str(error)) from error
    return Exit.OK


def _running() -> list[Connection]:
    from mmsearch.daemon.client import running
    from mmsearch.daemon.endpoint import UnsafePlace

    try:
        return running()
    except UnsafePlace as error:
        raise click.ClickException(str(error)) from error
