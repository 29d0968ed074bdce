"""Disks that fail: an error at the n-th write or sync, no room, files that may not grow.

    python -m tests.crash.disks --cases 100

In the process that met the error: it is clear, readers go on, no further write is taken. In
the next process: everything acknowledged is there.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.life import Life, fault
from tests.crash.powerloss import states_of
from tests.crash.shim import Zygote

STEPS = 30


@dataclass
class Tally:
    """What was seen: cases by sort, those whose error came, steps acknowledged, faults."""

    cases: Counter[str] = field(default_factory=Counter)
    met: int = 0
    acknowledged: int = 0
    faults: list[str] = field(default_factory=list)


def bad_disks(zygote: Zygote, work: Path, *, cases: int, seed: int = 0) -> Tally:
    """Live on so many bad disks and compare what is left."""
    tally, rng = Tally(), random.Random(seed)
    for n in range(cases):
        sort, how = _disk(n, rng)
        tally.cases[sort] += 1
        folder = Path(tempfile.mkdtemp(dir=work))
        case = {"store": str(folder / "store"), "watch": str(folder),
                "seed": rng.randrange(100), "steps": STEPS, **how}  # fmt: skip
        answer = zygote.run(case)
        done = answer["acknowledged"]
        tally.met += done < STEPS
        tally.acknowledged += done
        life = Life(case["seed"])
        what = answer["said"] or fault(
            folder / "store", states_of(life, STEPS)[done : done + 2], life
        )
        if what:
            tally.faults.append(f"{sort}, {how}, seed {case['seed']}, step {done}: {what}")
        shutil.rmtree(folder)
    return tally


def _disk(n: int, rng: random.Random) -> tuple[str, dict[str, Any]]:
    match n % 5:
        case 0:
            return "EIO at a write", {"fail": [rng.randint(1, 500), "write", "EIO", False]}
        case 1:
            return "EIO at a sync", {"fail": [rng.randint(1, 70), "sync", "EIO", False]}
        case 2:
            return "EIO from then on", {"fail": [rng.randint(1, 500), "any", "EIO", True]}
        case 3:
            return "full disk", {"quota": rng.randint(0, 700_000)}
        case _:
            return "RLIMIT_FSIZE", {"limit": rng.randint(0, 400_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, Zygote(Path(work)) as zygote:
        tally = bad_disks(zygote, Path(work), cases=args.cases, seed=args.seed)
    print(json.dumps(tally.__dict__))
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
