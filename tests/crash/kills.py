"""SIGKILL of a process that writes: at random moments, and at every file operation by name.

python -m tests.crash.kills --random 150 --each 2
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Item, Space, Store
from tests.crash.life import fault
from tests.crash.powerloss import records, states_of
from tests.crash.shim import Zygote
from tests.crash.workload import life_of

VERBS = {b"C": "create", b"W": "write", b"T": "cut", b"S": "sync", b"D": "sync folder",
         b"R": "rename", b"U": "unlink", b"M": "make folder", b"L": "link"}  # fmt: skip


@dataclass
class Tally:
    """What was seen. points: how often each named point was the last; faults: what was wrong."""

    kills: int = 0
    acknowledged: int = 0
    points: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def random_kills(
    zygote: Zygote, work: Path, *, kills: int, seed: int = 0, dim: int = 512, steps: int = 40
) -> Tally:
    """Kill so many lives at random moments and compare what is left."""
    tally, rng = Tally(), random.Random(seed)
    while tally.kills < kills:
        case = {"seed": rng.randrange(1000), "steps": steps, "dim": dim}
        started = time.monotonic()
        _lived(zygote, work, case, Tally())
        duration = time.monotonic() - started
        for _ in range(min(10, kills - tally.kills)):
            # Half the time is for the fork and the comparison.
            _lived(zygote, work, {**case, "kill_after": rng.uniform(0, duration / 2)}, tally)
    return tally


def named_kills(
    zygote: Zygote, work: Path, *, each: int | None, seed: int = 1, steps: int = 22
) -> Tally:
    """Kill before, in the midst of and after every sort of file operation.

    Args:
        each: so many of each sort, spread evenly over the life; None: all.
    """
    tally = Tally()
    case: dict[str, Any] = {"seed": seed, "steps": steps, "tour": True}
    log = work / "record"
    _lived(zygote, work, {**case, "record": str(log)}, Tally())
    sorts: dict[str, list[int]] = {}
    for n, name in enumerate(_names(log), 1):
        sorts.setdefault(name, []).append(n)
    for name, where in sorts.items():
        chosen = where
        if each is not None:
            chosen = [
                where[i] for i in np.linspace(0, len(where) - 1, min(each, len(where))).astype(int)
            ]
        for n in chosen:
            for when in ("before", "midway", "after") if "write" in name else ("before", "after"):
                before = tally.kills
                _lived(zygote, work, {**case, "kill": [n, when]}, tally)
                tally.points[f"{when} {name}"] += tally.kills - before
    return tally


def reopen_after_kill(zygote: Zygote, work: Path, *, rows: int, dim: int = 512) -> float:
    """Return the seconds that opening for writing takes, with so many rows and a cut-off add."""
    path = work / "large" / "store"
    path.parent.mkdir()
    vectors = np.random.default_rng(0).standard_normal((1_000, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Store.open(path, create=True) as store:
        c = store.create_collection("default", Space("test/1", dim))
        for n in range(0, rows, 1_000):
            c.add([Item(f"/p/{i}.jpg", meta={"width": i}) for i in range(n, n + 1_000)], vectors)
    case = {"store": str(path), "watch": str(path.parent), "seed": 0, "steps": 40, "dim": dim,
            "first": 1, "kill": [60, "midway"]}  # fmt: skip
    answer = zygote.run(case)
    if not answer["killed"]:
        raise RuntimeError(f"it was not killed: {answer}")
    started = time.perf_counter()
    with Store.open(path) as store:
        took = time.perf_counter() - started
        if store.collection("default").count() < rows or store.verify(full=True):
            raise RuntimeError("what was acknowledged is not there")
    shutil.rmtree(path.parent)
    return took


def _lived(zygote: Zygote, work: Path, case: dict[str, Any], tally: Tally) -> None:
    """Live one life that may be killed, and compare what is left with what must be there."""
    folder = Path(tempfile.mkdtemp(dir=work))
    path = folder / "store"
    answer = zygote.run({**case, "store": str(path), "watch": str(folder)})
    if answer["said"]:
        raise RuntimeError(f"the life itself failed: {answer}")
    life = life_of(case)
    done = answer["acknowledged"]
    if answer["killed"]:
        expected = states_of(life, case["steps"])[done : done + 2]
        tally.kills += 1
        tally.acknowledged += done
        if what := fault(path, expected, life):
            tally.faults.append(f"{case}, step {done}: {what}")
    elif "kill" in case:
        raise RuntimeError(f"the operation never came: {case}")
    shutil.rmtree(folder)


def _names(log: Path) -> list[str]:
    """Return what each operation of a record is called: what is done to which sort of file."""
    paths: dict[int, str] = {}
    names = []
    for op, inode, _, data in records(log):
        if op == b"A":
            continue
        if op == b"C":
            paths[inode] = data.decode()
        own = b"" if op in b"WTX" else data
        path = paths.get(inode, "") if op in b"WTS" else own.split(b"\0")[-1].decode()
        names.append(f"{VERBS.get(op, 'fail')} {_sort(path)}")
    return names


def _sort(path: str) -> str:
    name = path.rpartition("/")[2]
    for end, sort in ((".vec", "vectors"), (".db", "database"), ("-wal", "log"),
                      ("-journal", "journal"), (".faiss", "index"), (".tmp", "index")):  # fmt: skip
        if name.endswith(end):
            return sort
    return name if name in {"vec", "idx", "store"} else "parent"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--random", type=int, default=150)
    parser.add_argument("--each", type=int, default=2, help="of each sort; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, Zygote(Path(work)) as zygote:
        first = random_kills(zygote, Path(work), kills=args.random, seed=args.seed)
        second = named_kills(zygote, Path(work), each=args.each or None)
    for tally in (first, second):
        print(json.dumps(tally.__dict__))
    raise SystemExit(bool(first.faults or second.faults))


if __name__ == "__main__":
    main()
