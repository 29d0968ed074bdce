"""Exact search by torch: the answers of the exact search by numpy, on every device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Compare, Item, Space, Store
from index_store.scan import Part, scan

torch = pytest.importorskip("torch")

from mmsearch import torch_scan  # noqa: E402
from mmsearch.errors import ModelUnavailable  # noqa: E402
from mmsearch.torch_scan import TorchScan  # noqa: E402

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.gpu),
    pytest.param("mps", marks=pytest.mark.gpu),
]


def unit_rows(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


ROWS = unit_rows(3_000).astype(np.float16)
PARTS = [Part(7, ROWS[:1_000]), Part(1_007, ROWS[1_000:])]


def same(answers, truth) -> None:
    assert len(answers) == len(truth)
    for (ids, scores), (wanted, exact) in zip(answers, truth, strict=True):
        assert ids.tolist() == wanted.tolist()
        assert scores == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tile", [1 << 18, 300])
def test_it_finds_what_exact_search_by_numpy_finds(
    device: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device != "cpu" and not getattr(torch, device).is_available():
        pytest.skip(f"no {device} here")
    monkeypatch.setattr(torch_scan, "TILE", tile)
    asked = TorchScan(device)
    queries = unit_rows(300, seed=1)  # more than are asked at once
    for _ in range(2):  # the second time the vectors are there
        same(asked(PARTS, queries, 10), scan(PARTS, queries, 10))
    allowed = np.zeros(3_007, np.bool_)
    allowed[np.random.default_rng(2).integers(7, 3_007, 40)] = True
    same(asked(PARTS, queries, 10, allowed), scan(PARTS, queries, 10, allowed))
    allowed[:] = False
    allowed[[8, 1_500]] = True  # fewer than are wanted
    same(asked(PARTS, queries[:2], 10, allowed), scan(PARTS, queries[:2], 10, allowed))


def test_of_equal_scores_the_oldest_come_first() -> None:
    twins = [Part(0, np.repeat(unit_rows(1), 50, axis=0).astype(np.float16))]
    ((found, _),) = TorchScan("cpu")(twins, unit_rows(1), 10)
    assert found.tolist() == list(range(10))


def test_without_enough_memory_it_asks_for_less_and_ends_on_the_cpu_with_the_same_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch's own product refuses to make more than some numbers."""
    queries = unit_rows(2, seed=1)
    told: list[str] = []
    product = torch.Tensor.__matmul__
    most = 1_000

    def refusing(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if b.shape[1] > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return product(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", refusing)
    monkeypatch.setattr(torch_scan, "TILE", 2_000)
    monkeypatch.setattr(torch_scan, "SMALLEST", 100)
    asked = TorchScan("cpu", warn=told.append)
    same(asked(PARTS, queries, 10), scan(PARTS, queries, 10))
    assert [line.partition(": ")[2] for line in told] == [
        "the vectors are brought there for each question", "searching in tiles of 500 vectors",
    ]  # fmt: skip
    most = 10
    same(asked(PARTS, queries, 10), scan(PARTS, queries, 10))
    assert told[-1] == "out of memory on cpu: searching on the CPU"
    told.clear()
    same(asked(PARTS, queries, 10), scan(PARTS, queries, 10))
    assert told == []


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        TorchScan("cpu")(PARTS, unit_rows(1, dim=5), 3)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="'tpu9'"):
        TorchScan("tpu9")


@pytest.fixture
def collection(tmp_path: Path):
    with Store.open(tmp_path / "store", create=True) as store:
        made = store.create_collection("c", Space("test/16", 16))
        made.add([Item(str(i), meta={"n": i}) for i in range(3_000)], ROWS.astype(np.float32))
        yield made


def test_a_collection_searched_by_it_answers_as_before(collection: Collection) -> None:
    """Filters, deleted and newer items too, and it is exact where there is an index."""
    queries = unit_rows(20, seed=3)
    collection.build_index("image", threshold=256)
    collection.delete([m.item.key for m in collection.search(queries[:1], 30)[0]])
    collection.add([Item("new", meta={"n": 1})], queries[:1])

    def keys(**options) -> list[list[str]]:
        return [[m.item.key for m in hits] for hits in collection.search(queries, 10, **options)]

    index = keys()
    collection.scan_with(TorchScan("cpu"))
    everywhere, some = keys(), keys(where=Compare("n", "<", 100))
    assert everywhere[0][0] == "new"
    collection.scan_with(None)
    assert keys() == index
    collection.drop_index("image")
    assert keys() == everywhere
    assert keys(where=Compare("n", "<", 100)) == some
