"""How long a folder of JPEGs takes, as a whole process, beside other programs. JSON, then a table.

    python -m benchmarks.rival_models WORK
    python -m benchmarks.ingest WORK [--rclip PYTHON] [--clip-retrieval PYTHON] [--runs 5]

The contestants (`contestants.py`) take turns, run by run, with one run that is not counted.
wall_s: of the process; cpu_s: processor time of it and its children, which a busy machine changes
far less. Ratios are of the medians. `parts` are of mmsearch alone, in this process, as `decode.py`
has them; `encode_gflops` holds the encoder's arithmetic against `gemm_gflops`, a float32 product.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant, contestants
from benchmarks.decode import measured_parts
from benchmarks.pictures import make_pictures
from mmsearch.encoders import load_encoder

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
    encoder = load_encoder(f"onnx:{work / 'int8'}")
    for run in range(args.runs + 1):
        for contestant in running:
            found = once(contestant, work / "out")
            if run:
                turns[contestant.name].append(found)
        for name, rate in measured_parts(encoder, pictures).items():
            parts.setdefault(name, []).extend([rate] if run else [])
    figures = {name: summary(runs, args.pictures) for name, runs in turns.items()}
    medians = {name: round(statistics.median(rates), 1) for name, rates in parts.items()}
    medians["encode_gflops"] = round(medians["encode"] * GIGAFLOPS, 1)
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
