"""`mmsearch tune` as it is called."""

from __future__ import annotations

import click
import pytest

from mmsearch.cli import cli
from mmsearch.cli.tune import tune_command


def parent() -> click.Context:
    """Return the group's context: click remembers the help option of a command's first one."""
    return click.Context(cli, **cli.context_settings)


def timeout_of(text: str) -> float:
    words = ["pairs.csv", "--out", "tuning", "--timeout", text]
    seconds: float = tune_command.make_context("tune", words, parent=parent()).params["timeout"]
    return seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_a_time_is_in_seconds_or_has_units(text, seconds):
    assert timeout_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2d", "h", "1h30", "-5"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no time"):
        timeout_of(text)


def test_many_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["pairs.csv", "--out", str(tmp_path)]
    context = tune_command.make_context("tune", words, parent=parent())
    with pytest.raises(click.UsageError, match="one process"):
        tune_command.invoke(context)
