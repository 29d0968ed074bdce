"""Other engines for `benchmarks/search.py`: each yields settings with figures, and a way to ask.

What is not installed raises ImportError. The product of unit rows is the score everywhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from index_store.scan import decode

Ask = Callable[[np.ndarray], list[int]]
Found = Iterator[tuple[dict[str, Any], Ask]]
K = 10
CHUNK = 65_536
_BUILT: dict[tuple[int, int], tuple[Any, float]] = {}


def faiss(rows: np.ndarray, _folder: Path) -> Found:
    """Fast-scan PQ of both widths, and in lists, re-scored by a float16 flat index."""
    import faiss as f

    exact = _exact(rows)
    for subs in (rows.shape[1] // 2, rows.shape[1] // 4):
        base, build_s = _fast_scan(rows, subs)
        index = f.IndexRefine(base, exact)
        for candidates in (128, 256, 512, 1_024, 2_048):
            params = f.IndexRefineSearchParameters(k_factor=candidates / K)

            def ask(query: np.ndarray, index: Any = index, params: Any = params) -> list[int]:
                found: list[int] = index.search(query[None], K, params=params)[1][0].tolist()
                return found

            yield {"setting": f"PQ{subs}x4fs + fp16, {candidates} candidates",
                   "build_s": build_s, "bytes_per_vector": subs / 2}, ask  # fmt: skip
    yield from _in_lists(rows, exact)


def _in_lists(rows: np.ndarray, exact: Any) -> Found:
    """The same codes in as many lists as ours has, as faiss's own factory makes them."""
    import faiss as f

    n, dim = rows.shape
    lists, subs = 1 << min(12, round(1 + np.log2(n) / 2)), dim // 4
    start = time.perf_counter()
    base = f.index_factory(dim, f"IVF{lists},PQ{subs}x4fs", f.METRIC_INNER_PRODUCT)
    base.train(rows[:: max(n // (40 * lists), 1)].astype(np.float32))
    for at in range(0, n, CHUNK):
        base.add(rows[at : at + CHUNK].astype(np.float32))
    build_s, index = round(time.perf_counter() - start, 1), f.IndexRefine(base, exact)
    for probes in (4, 16, 64, 256):
        for candidates in (256, 1_024):
            params = f.IndexRefineSearchParameters(
                k_factor=candidates / K,
                base_index_params=f.SearchParametersIVF(nprobe=probes),
            )

            def ask(query: np.ndarray, params: Any = params) -> list[int]:
                found: list[int] = index.search(query[None], K, params=params)[1][0].tolist()
                return found

            setting = f"IVF{lists}, PQ{subs}x4fs + fp16, {probes} probes, {candidates} candidates"
            yield {"setting": setting, "build_s": build_s, "bytes_per_vector": subs / 2}, ask


def post_filter(rows: np.ndarray) -> Callable[[np.ndarray, np.ndarray], list[int]]:
    """Return a lean filter after the search: raw faiss names so many more candidates that some
    64 pass a mask, and these are re-scored; four times as many while fewer than K pass."""
    base, _ = _fast_scan(rows, rows.shape[1] // 2)

    def ask(query: np.ndarray, keep: np.ndarray) -> list[int]:
        fetch = min(max(256, int(64 * len(keep) / np.count_nonzero(keep))), len(keep))
        while True:
            named = base.search(query[None], fetch)[1][0]
            named = named[keep[named]]
            if len(named) >= K or fetch == len(keep):
                order = np.argsort(-(decode(rows[named]) @ query))[:K]
                found: list[int] = named[order].tolist()
                return found
            fetch = min(4 * fetch, len(keep))

    return ask


def _exact(rows: np.ndarray) -> Any:
    import faiss as f

    dim, fp16 = rows.shape[1], f.ScalarQuantizer.QT_fp16
    exact = f.IndexScalarQuantizer(dim, fp16, f.METRIC_INNER_PRODUCT)
    for start in range(0, len(rows), CHUNK):
        exact.add(rows[start : start + CHUNK].astype(np.float32))
    return exact


def _fast_scan(rows: np.ndarray, subs: int) -> tuple[Any, float]:
    """Return 4-bit fast-scan PQ over the rows and the seconds it took; built once."""
    import faiss as f

    f.omp_set_num_threads(1)
    if (id(rows), subs) not in _BUILT:
        start_s, n = time.perf_counter(), len(rows)
        base = f.IndexPQFastScan(rows.shape[1], subs, 4, f.METRIC_INNER_PRODUCT)
        base.train(rows[:: max(n // 32_768, 1)].astype(np.float32))
        for start in range(0, n, CHUNK):
            base.add(rows[start : start + CHUNK].astype(np.float32))
        _BUILT[id(rows), subs] = base, round(time.perf_counter() - start_s, 1)
    return _BUILT[id(rows), subs]


LARGE = 300_000  # beyond, a tree is not tried: its k-means takes minutes


def scann(rows: np.ndarray, _folder: Path) -> Found:
    import scann as s

    floats, n = rows.astype(np.float32), len(rows)
    start = time.perf_counter()
    flat = (
        s.scann_ops_pybind.builder(floats, K, "dot_product")
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(256)
        .build()
    )
    yield (
        {"setting": "AH2, reorder 256", "build_s": round(time.perf_counter() - start, 1)},
        lambda query: flat.search(query)[0].tolist(),
    )
    if n > LARGE:
        return
    start = time.perf_counter()
    leaves = max(int(np.sqrt(n)), 16)
    built = (
        s.scann_ops_pybind.builder(floats, K, "dot_product")
        .tree(num_leaves=leaves, num_leaves_to_search=leaves // 4, training_sample_size=n // 4)
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(256)
        .build()
    )
    build_s = round(time.perf_counter() - start, 1)
    for part in (4, 2):
        searched = leaves // part

        def ask(query: np.ndarray, searched: int = searched) -> list[int]:
            found: list[int] = built.search(query, leaves_to_search=searched)[0].tolist()
            return found

        yield {"setting": f"tree {searched} of {leaves}, AH2, reorder 256", "build_s": build_s}, ask


def hnswlib(rows: np.ndarray, folder: Path) -> Found:
    import hnswlib as h

    start = time.perf_counter()
    index = h.Index(space="ip", dim=rows.shape[1])
    index.init_index(max_elements=len(rows), ef_construction=100, M=32)
    index.add_items(rows.astype(np.float32))
    build_s = round(time.perf_counter() - start, 1)
    index.save_index(str(folder / "hnswlib"))
    size = (folder / "hnswlib").stat().st_size / len(rows)
    for ef in (128, 512):

        def ask(query: np.ndarray, ef: int = ef) -> list[int]:
            index.set_ef(ef)
            found: list[int] = index.knn_query(query[None], K)[0][0].tolist()
            return found

        yield {"setting": f"M 32, ef {ef}", "build_s": build_s,
               "bytes_per_vector": round(size, 1)}, ask  # fmt: skip


def usearch(rows: np.ndarray, _folder: Path) -> Found:
    from usearch.index import Index

    start = time.perf_counter()
    index = Index(ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=32,
                  expansion_search=512)  # fmt: skip
    index.add(np.arange(len(rows)), rows)
    build_s = round(time.perf_counter() - start, 1)
    figures = {"setting": "f16, connectivity 32, expansion 512", "build_s": build_s,
               "bytes_per_vector": round(index.memory_usage / len(rows), 1)}  # fmt: skip
    yield figures, lambda query: index.search(query.astype(np.float16), K).keys.tolist()


def sqlite_vec(rows: np.ndarray, folder: Path) -> Found:
    import apsw  # the sqlite3 of many a Python cannot load extensions
    import sqlite_vec as v

    path = folder / "sqlite-vec.db"
    db = apsw.Connection(str(path))
    db.enable_load_extension(True)
    db.load_extension(v.loadable_path())
    start = time.perf_counter()
    db.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(e float[{rows.shape[1]}] distance_metric=cosine)"
    )
    for base in range(0, len(rows), 10_000):
        block = rows[base : base + 10_000].astype(np.float32)
        with db:
            db.executemany("INSERT INTO v(rowid, e) VALUES (?, ?)",
                           [(base + i, row.tobytes()) for i, row in enumerate(block)])  # fmt: skip
    figures = {"setting": "vec0, exact", "build_s": round(time.perf_counter() - start, 1),
               "bytes_per_vector": round(path.stat().st_size / len(rows), 1)}  # fmt: skip
    sql = "SELECT rowid FROM v WHERE e MATCH ? AND k = ?"
    alone = threading.Lock()  # apsw refuses two threads at once

    def ask(query: np.ndarray) -> list[int]:
        with alone:
            return [r for (r,) in db.execute(sql, [query.tobytes(), K])]

    yield figures, ask


def lancedb(rows: np.ndarray, folder: Path) -> Found:
    import lancedb as lance
    import pyarrow as pa

    dim = rows.shape[1]
    start = time.perf_counter()
    flat = pa.array(rows.astype(np.float32).ravel())
    data = pa.table({"id": np.arange(len(rows)),
                     "vector": pa.FixedSizeListArray.from_arrays(flat, dim)})  # fmt: skip
    table = lance.connect(str(folder / "lance")).create_table("t", data)
    lists = max(int(np.sqrt(len(rows))), 16)
    table.create_index(metric="dot", num_partitions=lists, num_sub_vectors=dim // 4)
    build_s = round(time.perf_counter() - start, 1)
    for part in (8, 4):

        def ask(query: np.ndarray, part: int = part) -> list[int]:
            call = table.search(query).nprobes(lists // part).refine_factor(50).limit(K)
            return [r["id"] for r in call.select(["id"]).to_list()]

        yield {"setting": f"IVF_PQ {lists // part} of {lists} lists, refine 50",
               "build_s": build_s}, ask  # fmt: skip


RIVALS: dict[str, Callable[[np.ndarray, Path], Found]] = {
    "faiss": faiss, "scann": scann, "hnswlib": hnswlib, "usearch": usearch,
    "sqlite-vec": sqlite_vec, "lancedb": lancedb,
}  # fmt: skip
