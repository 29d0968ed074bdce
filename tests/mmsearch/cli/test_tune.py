"""`mmsearch tune` as it is called."""

from __future__ import annotations

import click
import pytest

from mmsearch.cli.tune import tune_command


def timeout_of(text: str) -> float:
    words = ["pairs.csv", "--out", "tuning", "--timeout", text]
    seconds: float = tune_command.make_context("tune", words).params["timeout"]
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
    with pytest.raises(click.UsageError, match="one process"):
        tune_command.main(["pairs.csv", "--out", str(tmp_path)], standalone_mode=False)
