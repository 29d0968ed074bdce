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
EMBED = "from mmsearch import load_encoder; load_encoder('starter').encode_texts(['a dog'])"


def left_behind(folder: Path, code: str, **how: str) -> list[str]:
    """Return the files that a fresh process with this home has written there."""
    kept = {name: value for name, value in os.environ.items() if name not in ASKED | QUIET}
    homes = {"HOME": str(folder), "USERPROFILE": str(folder), "LOCALAPPDATA": str(folder)}
    caches = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CACHE", "DATA")}
    environment = {**kept, **homes, **caches, **how}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("first", ["", "import mmsearch.encoders; "])
def test_onnx_runtime_makes_no_id_of_this_machine(tmp_path: Path, first: str) -> None:
    assert not {"deviceid", "onnxruntime.db"} & {*left_behind(tmp_path, first + EMBED)}


def test_who_wants_it_can_have_it(tmp_path: Path) -> None:
    code = "import mmsearch, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'"
    left_behind(tmp_path, code, ORT_DISABLE_TELEMETRY="0")


def test_hugging_face_is_told_nothing_either(tmp_path: Path) -> None:
    code = "import mmsearch, os; assert os.environ['HF_HUB_DISABLE_TELEMETRY'] == '1'"
    left_behind(tmp_path, code)
