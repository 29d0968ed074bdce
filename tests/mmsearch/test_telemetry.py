"""Libraries that tell their makers what is done with them are kept from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = {"ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"}
# With any of these ONNX Runtime is silent by itself.
QUIET = {"CI", "ORT_RUNNING_UNIT_TESTS", "TF_BUILD", "GITHUB_ACTIONS"}
EMBED = """from mmsearch import load_encoder
print(len(load_encoder('starter').encode_texts(['a dog'])))"""
SAID = "import mmsearch, os; print(os.environ['{}'])"


def ran(folder: Path, code: str, **how: str) -> str:
    """Return what code prints in a fresh process that has this home."""
    kept = {name: value for name, value in os.environ.items() if name not in ASKED | QUIET}
    homes = {"HOME": str(folder), "USERPROFILE": str(folder), "LOCALAPPDATA": str(folder)}
    caches = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "DATA")}
    call = [sys.executable, "-c", code]
    environment = {**kept, **homes, **caches, **how}
    done = subprocess.run(call, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("first", ["", "import mmsearch.encoders"])
def test_onnx_runtime_makes_no_id_of_this_machine(tmp_path: Path, first: str) -> None:
    assert ran(tmp_path, f"{first}\n{EMBED}") == "1"
    made = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not made & {"deviceid", "onnxruntime.db"}


def test_who_wants_it_can_have_it(tmp_path: Path) -> None:
    assert ran(tmp_path, SAID.format("ORT_DISABLE_TELEMETRY"), ORT_DISABLE_TELEMETRY="0") == "0"


def test_hugging_face_is_told_nothing_either(tmp_path: Path) -> None:
    assert ran(tmp_path, SAID.format("HF_HUB_DISABLE_TELEMETRY")) == "1"
