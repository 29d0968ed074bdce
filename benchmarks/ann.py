"""The approximate index against exact search: recall, time, size. JSON on stdout.

    python benchmarks/ann.py --n 200000 --dim 384

The vectors are synthetic, clustered, with a modality gap as CLIP's have: pictures and texts
lie in two cones. "picture" queries are like the stored vectors, "text" queries come from the
other cone and are near nothing; an index that was only tried with the first kind loses most of
its recall on the second.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from index_store import Item, Space, Store

K = 10


def vectors(n: int, dim: int, seed: int, gap: np.ndarray, centers: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = centers[rng.integers(0, len(centers), n)]
    rows = rows + 2.0 * rng.standard_normal((n, dim)).astype(np.float32) + gap
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def measure(collection, queries: np.ndarray, effort: int | None) -> tuple[list[list[str]], float]:
    """Return the keys found for each query, asked one by one, and the median time in ms."""
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        (matches,) = collection.search(query[None], K, effort=effort)
        times.append(time.perf_counter() - start)
        found.append([m.item.key for m in matches])
    return found, round(1000 * float(np.median(times)), 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    centers = rng.standard_normal((1_000, args.dim)).astype(np.float32)
    cones = 3.0 * rng.standard_normal((2, args.dim)).astype(np.float32) / 2
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder, create=True)
        collection = store.create_collection("bench", Space("synthetic", args.dim))
        start = time.perf_counter()
        for base in range(0, args.n, 10_000):
            rows = vectors(10_000, args.dim, args.seed + base + 1, cones[0], centers)
            collection.add([Item(str(base + i)) for i in range(len(rows))], rows)
        ingest_s = time.perf_counter() - start
        sets = {
            "picture": vectors(args.queries, args.dim, args.seed + 10**8, cones[0], centers),
            "text": vectors(args.queries, args.dim, args.seed + 10**9, cones[1], centers),
        }
        exact = {name: measure(collection, q, None) for name, q in sets.items()}
        start = time.perf_counter()
        collection.build_index("image", threshold=0)
        build_s = time.perf_counter() - start
        rows_out = []
        for name, queries in sets.items():
            truth, exact_ms = exact[name]
            for effort in (256, 1_024, 4_096):
                found, ms = measure(collection, queries, effort)
                recall = np.mean(
                    [len(set(f) & set(t)) / K for f, t in zip(found, truth, strict=True)]
                )
                rows_out.append({"queries": name, "candidates": effort,
                                 "recall@10": round(float(recall), 4), "p50_ms": ms,
                                 "exact_p50_ms": exact_ms})  # fmt: skip
        size = sum(f.stat().st_size for f in (Path(folder) / "idx").iterdir())
        print(json.dumps({
            **vars(args), "ingest_rows_per_s": round(args.n / ingest_s),
            "build_s": round(build_s, 1), "index_bytes_per_vector": round(size / args.n, 1),
            "results": rows_out,
        }, indent=2))  # fmt: skip
        store.close()


if __name__ == "__main__":
    main()
