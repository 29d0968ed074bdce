from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = Path(__file__).parent / "tiny_onnx"


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's caches out of the tests, and the tests out of the user's caches."""
    root = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root))
    monkeypatch.setenv("HF_HOME", str(root / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: root / "mmsearch")
    return root


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a committed bundle to where a test may break it."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(TINY / name, tmp_path / name))

    return copy


@pytest.fixture
def cached_repo(own_caches: Path) -> Callable[[str, Path], Path]:
    """Return a function that lays a folder into the Hugging Face cache, as a fetch would."""

    def lay(repo: str, folder: Path) -> Path:
        place = own_caches / "huggingface" / "hub" / f"models--{repo.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("c0ffee")
        return Path(shutil.copytree(folder, place / "snapshots" / "c0ffee"))

    return lay
