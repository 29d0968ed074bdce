"""`mmsearch config` and `completion`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mmsearch.cli.conftest import Mmsearch

ROOT = Path(__file__).parents[3]


def test_a_setting_that_is_written_counts(indexed: Mmsearch, tmp_path: Path) -> None:
    assert indexed("config", "set", "limit", "1").code == 0
    assert len(indexed("search", "red").out.splitlines()) == 1
    assert indexed("config", "get", "limit").out == "1\n"
    assert indexed("config", "unset", "limit").code == 0
    assert len(indexed("search", "red").out.splitlines()) == 3
    assert indexed("config", "get", "limit").code == 1
    assert indexed("config", "unset", "limit").code == 1


def test_every_setting_says_where_it_comes_from(
    mmsearch: Mmsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMSEARCH_HOME")
    monkeypatch.setenv("MMSEARCH_THREADS", "3")
    assert mmsearch("config", "set", "model", "color").code == 0
    assert mmsearch("config", "set", "--project", "store", "here").code == 0
    found = json.loads(mmsearch("config", "show", "--format", "json").out)["settings"]
    by_name = {s["name"]: s for s in found}
    user = str(tmp_path / "config" / "mmsearch" / "config.toml")
    project = str(tmp_path / "mmsearch.toml")
    assert by_name["model"] == {"name": "model", "value": "color", "source": user}
    assert by_name["store"] == {"name": "store", "value": f"{tmp_path}/here", "source": project}
    assert by_name["threads"]["source"] == "$MMSEARCH_THREADS"
    assert by_name["collection"]["source"] == "default"
    assert mmsearch("config", "path").out.splitlines() == [project, user]
    assert f"color  ({user})" in mmsearch("config", "show").out
    assert mmsearch("config", "unset", "--project", "store").code == 0
    assert "default" in mmsearch("config", "show").out.splitlines()[0]


def test_how_long_a_daemon_stays_can_be_set(mmsearch: Mmsearch) -> None:
    assert mmsearch("config", "set", "daemon", "true").code == 0
    assert mmsearch("config", "set", "daemon-idle", "2.5").code == 0
    assert mmsearch("config", "get", "daemon-idle").out == "2.5\n"
    assert "daemon-idle" in mmsearch("config", "set", "daemon-idle", "0").err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("limt", "3", "Did you mean 'limit'?"),
        ("limit", "many", "limit:"),
        ("kind", "film", "kind:"),
    ],
)
def test_a_setting_that_no_command_would_take_is_refused(
    mmsearch: Mmsearch, tmp_path: Path, name: str, value: str, message: str
) -> None:
    done = mmsearch("config", "set", name, value)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not (tmp_path / "config").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_names_the_command(mmsearch: Mmsearch, shell: str) -> None:
    out = mmsearch("completion", shell).out
    assert "_MMSEARCH_COMPLETE" in out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True)


def test_commands_and_options_complete() -> None:
    def completed(words: str) -> list[str]:
        env = os.environ | {"_MMSEARCH_COMPLETE": "bash_complete", "COMP_WORDS": words,
                            "COMP_CWORD": str(len(words.split(" ")) - 1),
                            "PYTHONPATH": str(ROOT)}  # fmt: skip
        code = "from mmsearch.cli import main; main([])"
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("mmsearch simi") == ["similar"]
    assert "--diverse" in completed("mmsearch search --d")
    assert "html" in completed("mmsearch search --format h")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("limit = []", "limit"), ("limit = {a = 1}", "limit"), ("limit = 2024-01-01", "limit"),
        ("limit = 1.7", "'1.7' is not"), ("limit = true", "'True' is not"),
        ("path = [[1]]", "path"),
    ],
)  # fmt: skip
def test_a_setting_of_the_wrong_type_is_refused_and_shown(
    indexed: Mmsearch, tmp_path: Path, line: str, said: str
) -> None:
    (tmp_path / "mmsearch.toml").write_text(line + "\n")
    done = indexed("search", "red")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    for how in ("table", "json"):
        assert line.split()[0] in indexed("config", "show", "--format", how).out


def test_an_option_that_may_be_repeated_takes_one_value_or_a_list(
    indexed: Mmsearch, tmp_path: Path
) -> None:
    for line in ('path = "red*"', 'path = ["red*", "green*"]'):
        (tmp_path / "mmsearch.toml").write_text(line + "\n")
        found = indexed("search", "red", "--format", "paths").out.split()
        assert len(found) == line.count("*")


def test_a_setting_that_no_command_has_is_pointed_out(mmsearch: Mmsearch, tmp_path: Path) -> None:
    (tmp_path / "mmsearch.toml").write_text("limt = 20\n")
    done = mmsearch("config", "show")
    assert "no command has an option --limt. Did you mean 'limit'?" in done.err
    assert done.code == 0
