"""Indexes that a GPU builds, and the distributions of faiss. Marked gpu: needs one."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from index_store import Collection, Item, Space, Store, ann, gpu
from index_store.ann import AnnIndex
from index_store.errors import FaissTwice, NoGpu
from index_store.recipe import recipe_for

DIM, N = 32, 2_000


def unit_rows(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


ROWS = unit_rows(N, 0)


def install(folder: Path, name: str) -> None:
    """Leave what pip leaves of a distribution."""
    info = folder / f"{name.replace('-', '_')}-1.15.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.15.1\n")


def test_two_distributions_of_faiss_are_named_with_what_mends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    install(tmp_path, "faiss-cpu")
    gpu.check()
    install(tmp_path, "faiss-gpu-cuvs")
    with pytest.raises(FaissTwice) as caught:
        gpu.check()
    assert caught.value.names == ["faiss-cpu", "faiss-gpu-cuvs"]
    assert str(caught.value).endswith(
        "pip uninstall -y faiss-cpu faiss-gpu-cuvs; pip install faiss-gpu-cuvs"
    )


@pytest.fixture
def collection(tmp_path: Path):
    with Store.open(tmp_path / "store", create=True) as store:
        made = store.create_collection("c", Space("test/32", DIM))
        made.add([Item(str(i)) for i in range(N)], ROWS)
        yield made


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is a GPU")
def test_what_only_a_gpu_can_build_is_refused_without_one(collection: Collection) -> None:
    with pytest.raises(NoGpu, match=r"hnsw-cagra.*faiss-gpu-cuvs"):
        collection.optimize(queries=unit_rows(40, 1), indexes=["hnsw-cagra"])


def test_a_graph_of_the_kind_that_cagra_becomes_is_kept_and_searched_on_the_cpu(
    tmp_path: Path,
) -> None:
    """faiss can also fill one itself, without a GPU; then it has the upper levels too."""
    graph = faiss.IndexHNSWCagra(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    graph.base_level_only = False
    graph.add(ROWS)
    size, digest = AnnIndex(graph).save(tmp_path / "g.faiss")
    loaded = ann.load(tmp_path / "g.faiss", size, digest)
    named = loaded.search(ROWS[:20], 50, 256)
    assert [int(found[0]) for found in named] == list(range(20))
    scored = loaded.scored(ROWS.astype(np.float16), ROWS[:20], 10, 50, 256)
    assert scored is not None
    assert [int(found[0]) for found, _ in scored] == list(range(20))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", sorted(gpu.KINDS))
def test_an_index_from_the_gpu_finds_what_exact_search_finds(kind, collection: Collection) -> None:
    if not faiss.get_num_gpus():
        pytest.skip("no GPU here, or faiss is not one for GPUs")
    report = collection.optimize(queries=unit_rows(100, 2), indexes=[kind])
    assert report.chosen is not None
    halves = ROWS.astype(np.float16)
    made = gpu.build(  # and it is the GPU that made it, not the CPU instead
        faiss, kind, None if kind == "hnsw-cagra" else ann._empty(recipe_for(kind, N, DIM), DIM),
        [halves], halves,
    )  # fmt: skip
    assert made.ntotal == N
