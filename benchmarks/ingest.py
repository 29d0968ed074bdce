"""How long a folder of JPEGs takes, as a whole process, beside other programs. JSON, then a table.

    python -m benchmarks.rival_models WORK
    python -m benchmarks.ingest WORK [--rclip PYTHON] [--clip-retrieval PYTHON] [--runs 5]

The contestants (`contestants.py`) take turns, run by run, with one run that is not counted.
wall_s: of the process; cpu_s: processor time of it and its children, which a busy machine changes
far less. Ratios are of the medians. `parts` are of mmsearch alone, in this process: decoding (with
hashing and scaling), encoding, and both at once without a store; `gemm` is a float32 product of
this machine in the same run, against which the encoder's arithmetic is held.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant, contestants
from benchmarks.pictures import make_pictures

GIGAFLOPS = 11.5  # a picture through ViT-B/32 at 256 pixels: 65 tokens, multiply and add counted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--rclip", metavar="PYTHON")
    parser.add_argument("--clip-retrieval", metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=240)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--skip", default="", help="names that do not run, by commas")
    args = parser.parse_args()
    work = args.work.absolute()
    width, height = map(int, args.size.split("x"))
    folder = work / f"{args.size}-{args.pictures}"
    pictures = make_pictures(folder, args.pictures, width=width, height=height)
    rivals = {"rclip": args.rclip, "clip_retrieval": args.clip_retrieval}
    running = [
        c for c in contestants(work, pictures, **rivals) if c.name not in args.skip.split(",")
    ]
    turns: dict[str, list[dict[str, float]]] = {c.name: [] for c in running}
    parts: dict[str, list[float]] = {}
    for run in range(args.runs + 1):
        for contestant in running:
            found = once(contestant, work / "out")
            if run:
                turns[contestant.name].append(found)
        for name, rate in measured_parts(work / "int8", pictures).items():
            parts.setdefault(name, []).extend([rate] if run else [])
    figures = {name: summary(runs, args.pictures) for name, runs in turns.items()}
    medians = {name: round(statistics.median(rates), 1) for name, rates in parts.items()}
    size = sum(path.stat().st_size for path in pictures.glob("*.jpg")) // args.pictures
    setting = {"pictures": args.pictures, "size": args.size, "bytes": size, "runs": args.runs}
    print(json.dumps({**setting, "load": os.getloadavg(), "parts": medians, **figures}, indent=2))
    print(table(figures, medians))


def once(contestant: Contestant, out: Path) -> dict[str, float]:
    """Return the seconds of one run.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    command, environment = contestant.prepare(out)
    log = out.with_suffix(".log")
    with log.open("wb") as file:
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"{contestant.name} failed:\n{log.read_text(errors='replace')[-3000:]}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1000}


def summary(runs: list[dict[str, float]], pictures: int) -> dict[str, Any]:
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    spread = {
        f"{key}_range": [round(f(run[key] for run in runs), 2) for f in (min, max)]
        for key in ("wall_s", "cpu_s")
    }
    rate = {"pictures_per_s": round(pictures / median["wall_s"], 1)}
    return {key: round(value, 2) for key, value in median.items()} | rate | spread


def measured_parts(model: Path, pictures: Path) -> dict[str, float]:
    """Return pictures a second of each part alone, and what a matrix product reaches."""
    import numpy as np

    from mmsearch.cores import usable_cores
    from mmsearch.encoders import load_encoder
    from mmsearch.images import open_picture
    from mmsearch.ingestion import BATCH
    from mmsearch.pipeline import batched, map_ahead
    from mmsearch.sources import source_hash

    encoder = load_encoder(f"onnx:{model}")
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
        for _ in range(0, len(paths), BATCH):
            encoder.encode_images(arrays)

    def both() -> None:
        made = map_ahead(prepare, paths, threads=threads, ahead=3 * BATCH)
        for batch in batched(made, BATCH):
            encoder.encode_images(np.stack(batch))

    gemm = 2 * 2048**3 * 4 / 1e9 / seconds(lambda: [square @ square for _ in range(4)])
    rates = {f.__name__: len(paths) / seconds(f) for f in (decode, encode, both)}
    return rates | {"gemm_gflops": gemm, "encode_gflops": rates["encode"] * GIGAFLOPS}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def table(figures: dict[str, dict[str, Any]], parts: dict[str, float]) -> str:
    """Return the table of the benchmarks page, in Markdown."""
    first = next(iter(figures.values()))
    lines = [
        "| | wall s | pictures/s | CPU s | peak MB | wall, x | CPU, x |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, f in figures.items():
        ratios = [f"{f[key] / first[key]:.1f}" for key in ("wall_s", "cpu_s")]
        cells = [name, f"{f['wall_s']:.1f}", f["pictures_per_s"], f"{f['cpu_s']:.1f}"]
        lines.append("| " + " | ".join(map(str, [*cells, f"{f['mb']:,.0f}", *ratios])) + " |")
    lines.append("\n" + ", ".join(f"{name} {value:,.1f}" for name, value in parts.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
