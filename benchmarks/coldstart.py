"""How long a cold command takes, as a whole process. JSON on stdout.

    python benchmarks/coldstart.py --store STORE [--runs 9]

The store is one that `mmsearch index` made. Times are wall seconds of the process, after one
warm-up that is not counted; on a shared machine only the ratios of one run mean much, so an
empty Python and `import numpy, onnxruntime` are timed beside it, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--query", default="two dogs running in the snow")
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    module = [sys.executable, "-m", "mmsearch"]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import numpy, onnxruntime": [sys.executable, "-c", "import numpy, onnxruntime"],
        "mmsearch --help": [*module, "--help"],
        "mmsearch search": [*module, "search", args.query, "--store", args.store],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(args.runs + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if run:
                times[name].append(time.perf_counter() - start)
    figures = {
        name: {
            "median_s": round(statistics.median(t), 3),
            "min_s": round(min(t), 3),
            "max_s": round(max(t), 3),
        }
        for name, t in times.items()
    }
    print(json.dumps({"runs": args.runs, "cpus": os.cpu_count(), **figures}, indent=2))


if __name__ == "__main__":
    main()
