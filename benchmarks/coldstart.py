"""How long a cold command takes, as a whole process. JSON on stdout.

    python -m benchmarks.coldstart --store STORE [--runs 9]
    python -m benchmarks.coldstart --work WORK --vectors 100000 [--rclip PYTHON]

The store is one that `mmsearch index` made; or, with what `rival_models.py` left in WORK, one of
random vectors and a ViT-B/32, beside rclip's of the same vectors and graphs. This checkout is
compiled to bytecode first, as pip compiles what it installs: in a checkout where Python may not
write it ($PYTHONDONTWRITEBYTECODE) each start would compile it anew. After one warm-up that is not
counted the commands take turns; on a shared machine only the ratios of one run mean much, so
an empty Python and `import numpy, onnxruntime` are among them, and processor time stands beside
wall time. `round trip` is the daemon's answer to a text, connecting included, within one process.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cold_stores import mmsearch_store, rclip_store

ROOT = Path(__file__).parents[1]
TEXTS = ("two dogs running in the snow", "a red bus", "people at a market in the old town", "a cat")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--rclip", metavar="PYTHON")
    parser.add_argument("--query", default=TEXTS[0])
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    for package in ("mmsearch", "index_store"):
        compileall.compile_dir(ROOT / package, quiet=1)
    module = [sys.executable, "-m", "mmsearch"]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import numpy, onnxruntime": [sys.executable, "-c", "import numpy, onnxruntime"],
        "mmsearch --help": [*module, "--help"],
    }
    stores = {"": args.store} if args.store else made_stores(args.work.absolute(), args.vectors)
    for name, store in stores.items():
        search = [*module, "search", args.query, "--store", str(store)]
        commands[f"mmsearch search{name}"] = [*search, "--no-daemon"]
        commands[f"mmsearch search --daemon{name}"] = [*search, "--daemon"]
        subprocess.run(commands[f"mmsearch search --daemon{name}"], check=True, capture_output=True)
    trips = {name: round_trips(store) for name, store in stores.items()}
    environment, cwd = dict(os.environ), Path.cwd()
    if args.rclip and args.work:
        work = args.work.absolute()
        data = rclip_store(work / f"rclip-{args.vectors}", args.vectors, work / "rclip", args.rclip)
        environment["RCLIP_DATADIR"], cwd = str(data), data / "pictures"
        commands["rclip"] = [args.rclip, "-m", "rclip", "--no-indexing", args.query]
    figures = {
        name: summary(runs) for name, runs in timed(commands, args.runs, environment, cwd).items()
    }
    setting = {"runs": args.runs, "cpus": os.cpu_count(), "load": os.getloadavg()}
    print(json.dumps({**setting, **figures, "round trip, ms": trips}, indent=2))
    subprocess.run([*module, "daemon", "stop"], check=False, capture_output=True)


def made_stores(work: Path, vectors: int) -> dict[str, Path]:
    return {
        f", {precision}": mmsearch_store(
            work / f"store-{precision}-{vectors}", vectors, f"onnx:{work / precision}"
        )
        for precision in ("fp32", "int8")
    }


def timed(
    commands: dict[str, list[str]], runs: int, environment: dict[str, str], cwd: Path
) -> dict[str, list[tuple[float, float]]]:
    """Return wall and processor seconds of every counted run."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            process = subprocess.Popen(
                command, env=environment, cwd=cwd, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            if status:
                raise SystemExit(f"{name} failed with {process.returncode}: {command}")
            if run:
                times[name].append((wall, usage.ru_utime + usage.ru_stime))
    return times


def summary(runs: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = zip(*runs, strict=True)
    return {
        "median_s": round(statistics.median(wall), 3),
        "min_s": round(min(wall), 3),
        "max_s": round(max(wall), 3),
        "cpu_s": round(statistics.median(cpu), 3),
    }


def round_trips(store: Path, n: int = 100) -> dict[str, Any]:
    """Return milliseconds from a text to its vector through the daemon, once it is there."""
    from index_store import Store
    from mmsearch.daemon.client import connected

    with Store.open(store, readonly=True) as opened:
        collection = opened.collection("default")
        spec, space = collection.model, collection.space
    end = time.monotonic() + 120
    while not (warm := connected(spec, space, lambda: sys.exit("the daemon was lost"))):
        if time.monotonic() > end:
            raise SystemExit("no daemon has started")
        time.sleep(0.1)
    warm.close()
    times = []
    for number in range(n):
        start = time.perf_counter()
        warm = connected(spec, space, lambda: sys.exit("the daemon was lost"))
        assert warm is not None
        warm.encode_texts([TEXTS[number % len(TEXTS)]])
        warm.close()
        times.append(1000 * (time.perf_counter() - start))
    return {"median": round(statistics.median(times), 1), "min": round(min(times), 1)}


if __name__ == "__main__":
    main()
