"""The daemon from the command line, with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmsearch.daemon.client import running
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint


def running_pids() -> list[int]:
    found = running()
    pids = [connection.said["pid"] for connection in found]
    for connection in found:
        connection.close()
    return pids


def wait_for_another_than(*pids: int) -> int:
    end = time.monotonic() + 60
    while not (found := [pid for pid in running_pids() if pid not in pids]):
        assert time.monotonic() < end, "no daemon has started"
        time.sleep(0.02)
    (pid,) = found
    return pid


def search(tmp_path: Path, *options: str) -> list[str]:
    """Search in a process of its own; return the keys of the hits."""
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "none")}
    command = [
        sys.executable,
        "-m",
        "mmsearch",
        "search",
        "red",
        "--store",
        str(tmp_path / "store"),
    ]
    done = subprocess.run(
        [*command, "--format", "jsonl", *options],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return [json.loads(line)["key"] for line in done.stdout.splitlines()]


def test_searches_with_a_daemon_find_what_those_without_find(
    tmp_path: Path, mmsearch: Mmsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for color in ("red", "blue", "green"):
        paint(tmp_path / "pictures" / f"{color}.jpg", color)
    store = tmp_path / "store"
    assert mmsearch("index", tmp_path / "pictures", "--model", "color", "--store", store).code == 0
    cold = search(tmp_path, "--no-daemon")
    assert mmsearch("daemon", "status").code == 1
    first, second = (threading.Thread(target=search, args=(tmp_path, "--daemon")) for _ in "12")
    first.start(), second.start()  # both find none, and both start one
    first.join(), second.join()
    pid = wait_for_another_than()
    assert search(tmp_path, "--daemon") == cold
    status = json.loads(mmsearch("daemon", "status", "--format", "json").out)
    assert status["daemons"][0]["answered"] >= 1
    # A store that has changed since is searched as it is now.
    paint(tmp_path / "pictures" / "dark.jpg", "darkred")
    assert mmsearch("index", tmp_path / "pictures", "--store", store).code == 0
    assert search(tmp_path, "--daemon") == search(tmp_path, "--no-daemon") != cold
    os.kill(pid, 9)
    assert search(tmp_path, "--daemon") == search(tmp_path, "--no-daemon")
    wait_for_another_than(pid)  # a new one has taken its place
    assert mmsearch("daemon", "stop").code == 0
    assert mmsearch("daemon", "status").code == 1


def test_a_daemon_without_questions_leaves(mmsearch: Mmsearch) -> None:
    assert mmsearch("daemon", "run", "color", "--daemon-idle", "0.005").code == 0
