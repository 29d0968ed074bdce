"""A folder of plain pictures and a collection of the hand-checkable encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from index_store import Collection, Store
from mmsearch import Encoder, load_encoder


def paint(path: Path, color: str | tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


@pytest.fixture
def encoder() -> Encoder:
    return load_encoder("color")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def collection(store: Store, encoder: Encoder) -> Collection:
    return store.create_collection("default", encoder.space, model="color")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three pictures: red.png, green.png and nested/blue.png."""
    folder = tmp_path / "photos"
    paint(folder / "red.png", "red")
    paint(folder / "green.png", (0, 255, 0))
    paint(folder / "nested" / "blue.png", "blue")
    return folder
