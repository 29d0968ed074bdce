"""Two readers beside one writer: what a reader sees is of one moment, always.

    python -m tests.crash.readers --seconds 20

The writer stores, replaces and deletes whole batches, compacts and builds indexes; a search
for everything must find each batch whole or not at all, all of one version, each row with the
vector of that version.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from index_store import Item, Space, Store

BATCH, DIM, ALL = 16, 8, 4_096
LEAST = 30  # commits and snapshots, however slow the machine


@dataclass
class Tally:
    """What was seen: commits, snapshots, compactions, and snapshots that were torn."""

    commits: int = 0
    compactions: int = 0
    snapshots: int = 0
    faults: list[str] = field(default_factory=list)


def vector(number: int) -> np.ndarray:
    row = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


def write(path: Path, seconds: float) -> dict[str, int]:
    """Write until the time is over; return how many commits and compactions there were."""
    rng = np.random.default_rng(0)
    tally: Counter[str] = Counter()
    with Store.open(path) as store:
        c = store.collection("default")
        end = time.monotonic() + seconds
        while time.monotonic() < end or tally["commits"] < LEAST:
            batch, version = int(rng.integers(40)), tally["commits"]
            keys = [f"{batch}-{n}" for n in range(BATCH)]
            if rng.random() < 0.2:
                c.delete(keys)
            else:
                numbers = [version * BATCH + n for n in range(BATCH)]
                items = [
                    Item(k, stamp=str(version), meta={"batch": batch, "number": number})
                    for k, number in zip(keys, numbers, strict=True)
                ]
                c.add(items, np.stack([vector(n) for n in numbers]))
            tally["commits"] += 1
            if tally["commits"] % 25 == 0:
                tally["compactions"] += c.compact("image", least=0.2) is not None
            if tally["commits"] % 60 == 0:
                c.build_index("image", threshold=256)
    return dict(tally)


def read(path: Path, seconds: float) -> dict[str, object]:
    """Read until the time is over; return the number of snapshots and those that were torn."""
    query = vector(1 << 40)
    snapshots, faults = 0, []
    with Store.open(path, readonly=True) as store:
        c = store.collection("default")
        end = time.monotonic() + seconds
        while time.monotonic() < end or snapshots < LEAST:
            (found,) = c.search(query[None], ALL, effort=ALL)
            snapshots += 1
            batches = defaultdict(list)
            for match in found:
                batches[match.item.meta["batch"]].append(match)
            for batch, matches in batches.items():
                if len(matches) != BATCH or len({m.item.stamp for m in matches}) != 1:
                    faults.append(f"batch {batch}: {len(matches)} rows, or several versions")
                number = matches[0].item.meta["number"]
                score = float(vector(number).astype(np.float16).astype(np.float32) @ query)
                if abs(matches[0].score - score) > 1e-5:
                    faults.append(f"batch {batch}: a row with the vector of another version")
            if snapshots % 50 == 0 and (problems := store.verify(full=True)):
                faults.append(f"verify: {problems[0]}")
    return {"snapshots": snapshots, "faults": faults}


def side_by_side(work: Path, *, seconds: float, readers: int = 2) -> Tally:
    """Run one writer and its readers, processes of their own; return what they saw."""
    path = work / "store"
    with Store.open(path, create=True) as store:
        store.create_collection("default", Space("test/1", DIM))
    command = [sys.executable, "-m", "tests.crash.readers", "--store", str(path),
               "--seconds", str(seconds), "--role"]  # fmt: skip
    running = [
        subprocess.Popen([*command, role], stdout=subprocess.PIPE, text=True,
                         cwd=Path(__file__).parents[2])
        for role in ["write", *["read"] * readers]
    ]  # fmt: skip
    tally = Tally()
    for process in running:
        out, _ = process.communicate()
        if process.returncode:
            tally.faults.append(f"a process ended with {process.returncode}")
            continue
        said = json.loads(out)
        tally.commits += said.get("commits", 0)
        tally.compactions += said.get("compactions", 0)
        tally.snapshots += said.get("snapshots", 0)
        tally.faults += said.get("faults", [])
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--role", choices=["write", "read"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        print(json.dumps((write if args.role == "write" else read)(args.store, args.seconds)))
        return
    with tempfile.TemporaryDirectory() as work:
        tally = side_by_side(Path(work), seconds=args.seconds)
    print(json.dumps(tally.__dict__))
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
