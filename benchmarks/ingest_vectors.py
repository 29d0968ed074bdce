"""How fast `Collection.add` makes vectors durable, beside the least that could do. JSON on stdout.

    python -m benchmarks.ingest_vectors
    python -m benchmarks.ingest_vectors --rows 200000 --batches 256 --folder /a/disk

The floor, in the same run and turn by turn: the same float16 bytes appended and forced to the
disk (fdatasync), the same rows by `executemany` of the standard library's sqlite3 into the same
tables, WAL and synchronous=FULL, one COMMIT a batch. It checks nothing, computes no checksum and
knows its rows beforehand. What the disk does meanwhile decides most of both, so the CPU's time
stands beside the clock's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Item, Space, Store
from index_store.db import META
from index_store.rows import NAMES, to_values
from index_store.segment import crcs

SQL = (
    f"INSERT INTO item (collection_id, seq, {', '.join(NAMES)}) "
    f"VALUES ({', '.join('?' * (len(NAMES) + 2))})"
)


def items_of(n: int) -> list[Item]:
    """Return items as `mmsearch index` makes them of a folder of photos."""
    return [
        Item(
            f"/pictures/2024/{i:07}.jpg",
            uri=f"file:///pictures/2024/{i:07}.jpg",
            stamp=f"{100_000 + i}:1700000000000000000",
            content=hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest(),
            meta={"width": 640, "height": 480, "camera": "Canon EOS", "n": i},
        )
        for i in range(n)
    ]


class Ours:
    """`Collection.add`, whole."""

    def __init__(self, folder: Path, dim: int) -> None:
        self._store = Store.open(folder, create=True)
        self._collection = self._store.create_collection("bench", Space("bench", dim))

    def add(self, items: list[Item], vectors: np.ndarray) -> None:
        self._collection.add(items, vectors)

    def close(self) -> None:
        self._store.close()


class Floor:
    """The same bytes and rows by plain system calls and the standard library."""

    def __init__(self, folder: Path, dim: int) -> None:
        with Store.open(folder, create=True) as store:
            store.create_collection("floor", Space("floor", dim))
        self._file = os.open(folder / "vec" / "floor", os.O_WRONLY | os.O_CREAT, 0o666)
        self._db = sqlite3.connect(folder / META, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._db.execute(f"PRAGMA {pragma}")

    def add(self, rows: list[tuple[Any, ...]], halves: np.ndarray) -> None:
        os.write(self._file, halves.data)
        os.fdatasync(self._file)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(SQL, rows)
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()
        os.close(self._file)


def timed(calls: list[Callable[[], None]]) -> tuple[float, float]:
    """Return the seconds of the clock and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    for call in calls:
        call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(folder: Path, items: list[Item], vectors: np.ndarray, batch: int) -> dict[str, Any]:
    """Return rows a second of both, each fed one part after the other in turn."""
    ours, floor = (kind(folder / kind.__name__, vectors.shape[1]) for kind in (Ours, Floor))
    spent = {"ours": [0.0, 0.0], "floor": [0.0, 0.0]}
    parts = 10
    try:
        for part in np.array_split(np.arange(len(items)), parts):
            blocks = [part[i : i + batch] for i in range(0, len(part), batch)]
            mine = [(items[b[0] : b[-1] + 1], vectors[b]) for b in blocks]
            halves = [v.astype(np.float16) for _, v in mine]
            plain = [
                [(1, 1, *to_values(i, int(p), c)) for i, p, c in zip(some, b, crcs(h), strict=True)]
                for (some, _), b, h in zip(mine, blocks, halves, strict=True)
            ]
            calls = {
                "ours": [lambda a=a: ours.add(*a) for a in mine],
                "floor": [
                    lambda r=r, h=h: floor.add(r, h) for r, h in zip(plain, halves, strict=True)
                ],
            }
            for name, called in calls.items():
                for n, seconds in enumerate(timed(called)):
                    spent[name][n] += seconds
    finally:
        ours.close()
        floor.close()
    found: dict[str, Any] = {"batch": batch}
    for name, (wall, cpu) in spent.items():
        found[name] = {
            "rows_per_s": round(len(items) / wall),
            "rows_per_cpu_s": round(len(items) / cpu),
        }
    found["ours_of_floor"] = round(spent["floor"][0] / spent["ours"][0], 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batches", default="256,16", help="sizes, comma-separated")
    parser.add_argument("--folder", type=Path, help="a disk to try; default: the temporary one")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    vectors = rng.standard_normal((args.rows, args.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = items_of(args.rows)
    results = []
    for batch in map(int, args.batches.split(",")):
        # Small batches: fewer rows tell as much.
        n = min(args.rows, 400 * batch)
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            results.append({"rows": n} | measure(Path(folder), items[:n], vectors[:n], batch))
    call = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    print(json.dumps({**call, "results": results}, indent=2))


if __name__ == "__main__":
    main()
