"""Kill `mmsearch index` at random moments, look at what is left, go on; compare the end.

    python -m tests.crash.kill_index FOLDER --kills 150 --model starter

Checked after every kill: all that was acknowledged on stdout is there, with the right vector;
every transaction is there whole or not at all; nothing was embedded again after its commit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from index_store import Store
from index_store.db import read_connection
from index_store.errors import StoreNotFound

BATCH = 16


@dataclass
class Tally:
    """What was seen: kills, those that hit while something was being stored, and faults."""

    kills: int = 0
    midway: int = 0
    runs_completed: int = 0
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


def command(folder: Path, store: Path, model: str) -> list[str]:
    return [
        sys.executable, "-m", "mmsearch", "index", str(folder), "--store", str(store),
        "--model", model, "--format", "jsonl", "--quiet", "--batch-size", str(BATCH),
    ]  # fmt: skip


def contents(store: Path) -> dict[str, np.ndarray]:
    """Return the vectors by key; empty if there is no collection yet."""
    try:
        with Store.open(store, readonly=True) as opened:
            if not opened.collections():
                return {}
            collection = opened.collection("default")
            keys = collection.keys()
            return dict(zip(keys, collection.vectors(keys), strict=True))
    except StoreNotFound:
        return {}


def half_batches(store: Path, of: int) -> int:
    """Return how many transactions are there in part only."""
    try:
        connection = read_connection(store)
    except StoreNotFound:
        return 0
    try:
        sizes = Counter(seq for (seq,) in connection.execute("SELECT seq FROM item"))
    finally:
        connection.close()
    # The last batch of the listing is short, all others are full.
    return sum(size not in (BATCH, of % BATCH) for size in sizes.values())


def killed_run(args: list[str], after: float) -> tuple[set[str], bool]:
    """Start, kill after so many seconds; return what was acknowledged, and whether it had ended.

    Raises:
        RuntimeError: it ended before the kill, with an error.
    """
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + after
    os.set_blocking(process.stdout.fileno(), False)
    out = b""
    while time.monotonic() < deadline and process.poll() is None:
        out += process.stdout.read() or b""
        time.sleep(0.002)
    ended = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.set_blocking(process.stdout.fileno(), True)
    out += process.stdout.read()
    said = process.stderr.read().decode()
    process.stdout.close()
    process.stderr.close()
    if ended and process.returncode:
        raise RuntimeError(f"mmsearch ended by itself with {process.returncode}: {said}")
    lines = [json.loads(line) for line in out.split(b"\n")[:-1]]
    return {line["stored"] for line in lines if "stored" in line}, ended


def check(store: Path, reference: dict[str, np.ndarray], acknowledged: set[str], t: Tally) -> int:
    """Compare what is there with what must be; return how many items there are."""
    there = contents(store)
    lost = acknowledged - there.keys()
    if lost:
        t.faults.append(f"kill {t.kills}: {len(lost)} acknowledged items lost")
    wrong = [k for k, v in there.items() if np.abs(v - reference[k]).max() > 2e-3]
    if wrong:
        t.faults.append(f"kill {t.kills}: {len(wrong)} wrong vectors")
    if half := half_batches(store, len(reference)):
        t.faults.append(f"kill {t.kills}: {half} half batches")
    if there:
        with Store.open(store, readonly=True) as opened:
            if opened.collection("default").stats().dead:
                t.faults.append(f"kill {t.kills}: something was embedded twice")
            t.faults += [f"kill {t.kills}: {p}" for p in opened.verify(full=True)]
    return len(there)


def torture(folder: Path, work: Path, *, model: str, kills: int, seed: int = 0) -> Tally:
    """Kill so many times and return the tally; `faults` is empty if all is well."""
    tally, rng = Tally(), random.Random(seed)
    started = time.monotonic()
    subprocess.run(command(folder, work / "reference", model), check=True, capture_output=True)
    duration = time.monotonic() - started
    reference = contents(work / "reference")
    store, acknowledged, before = work / "store", set[str](), 0
    while tally.kills < kills:
        args = command(folder, store, model)
        new, ended = killed_run(args, rng.uniform(0.0, 1.05 * duration))
        acknowledged |= new
        tally.acknowledged += len(new)
        tally.kills += not ended
        there = check(store, reference, acknowledged, tally)
        tally.midway += before < there < len(reference) and not ended
        before = there
        if ended or there == len(reference):
            tally.runs_completed += 1
            _compare(contents(store), reference, tally)
            shutil.rmtree(store)
            acknowledged, before = set(), 0
    subprocess.run(command(folder, store, model), check=True, capture_output=True)
    check(store, reference, acknowledged, tally)
    _compare(contents(store), reference, tally)
    return tally


def _compare(there: dict[str, np.ndarray], reference: dict[str, np.ndarray], t: Tally) -> None:
    if there.keys() != reference.keys():
        t.faults.append(f"kill {t.kills}: the end differs from an undisturbed run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        tally = torture(args.folder, Path(work), model=args.model, kills=args.kills, seed=args.seed)
    print(json.dumps(tally.__dict__))
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
