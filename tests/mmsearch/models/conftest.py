from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "encoders" / "tiny_onnx"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's folders out of the tests, and the tests out of the user's folders."""
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a committed bundle to where a test may break it."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(TINY / name, tmp_path / name))

    return copy
