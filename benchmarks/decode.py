"""Decoding alone, encoding alone, and `ingest` as it is: pictures a second, one process. JSON.

    python -m benchmarks.decode MODEL --pictures 200 --size 640x480 [--runs 5]

MODEL is as for --model. decode: hashing, decoding and scaling on all threads. encode: the model on
batches that are there. ingest: both and the store, every batch durable. The parts take turns, run
by run. On a CPU both halves want the same cores, so the most that can be had is `shared`,
1 / (1/decode + 1/encode); where the model runs on a card it is the slower half. `gemm` is a float32
product of this machine in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.pictures import make_pictures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    from mmsearch.encoders import load_encoder

    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pictures"
        pictures = make_pictures(place, args.pictures, width=width, height=height)
        encoder = load_encoder(args.model)
        runs = [measured_parts(encoder, pictures) for _ in range(args.runs + 1)][1:]
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    shared = 1 / (1 / found["decode"] + 1 / found["encode"])
    least = min(found["decode"], found["encode"])
    ratios = {
        "shared": round(shared, 1),
        "ingest of shared": round(found["ingest"] / shared, 3),
        "ingest of the slower": round(found["ingest"] / least, 3),
    }
    setting = {"model": args.model, "pictures": args.pictures, "size": args.size}
    rates = {name: round(rate, 1) for name, rate in found.items()}
    print(json.dumps({**setting, "runs": args.runs, "load": os.getloadavg(), **rates, **ratios}))


def measured_parts(encoder: Any, pictures: Path) -> dict[str, float]:
    """Return pictures a second of each part, and gigaflops of a matrix product."""
    import numpy as np

    from index_store import Store
    from mmsearch.cores import usable_cores
    from mmsearch.images import open_picture
    from mmsearch.ingestion import BATCH, ingest
    from mmsearch.pipeline import map_ahead
    from mmsearch.readers import read
    from mmsearch.sources import source_hash

    paths = [str(path) for path in sorted(pictures.glob("*.jpg"))]
    threads = usable_cores()

    def prepare(path: str) -> Any:
        source_hash(path)
        return encoder.prepare(open_picture(path, target=encoder.image_size).image)

    arrays = np.stack([prepare(path) for path in paths[:BATCH]])
    encoder.encode_images(arrays)
    square = np.ones((2048, 2048), np.float32)

    def decode() -> None:
        for _ in map_ahead(prepare, paths, threads=threads, ahead=3 * BATCH):
            pass

    def encode() -> None:
        for start in range(0, len(paths), BATCH):
            encoder.encode_images(arrays[: len(paths) - start])

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder, Store.open(folder, create=True) as store:
            collection = store.create_collection("default", encoder.space)
            report = ingest(read(str(pictures)), encoder, collection)
            assert report.added == len(paths)

    parts = {"decode": decode, "encode": encode, "ingest": whole}
    rates = {name: len(paths) / seconds(part) for name, part in parts.items()}
    gemm = 2 * 2048**3 * 4 / 1e9 / seconds(lambda: [square @ square for _ in range(4)])
    return rates | {"gemm_gflops": gemm}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
