"""Small stores for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Item, Space, Store

SPACE = Space("test/1", 8)


def unit_rows(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def one_hot(*axes: int) -> np.ndarray:
    return np.eye(8, dtype=np.float32)[list(axes)]


def pictures(n: int, first: int = 0) -> list[Item]:
    return [Item(f"/p/{i}.jpg", meta={"width": i}) for i in range(first, first + n)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def collection(store: Store) -> Collection:
    return store.create_collection("default", SPACE, model="test")
