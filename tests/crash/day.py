"""24 hours of a store's life in fast motion: 200 rounds, each ended by a crash.

    python -m tests.crash.day --rounds 200

In each round a process adds, updates, renames, deletes, compacts, builds indexes and embeds
anew, until it is killed at a file operation chosen at random; then everything is verified and
compared with a dict, and the next round goes on from what is there.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from index_store import Store
from tests.crash.life import NAME, Life, State, Step, fault
from tests.crash.shim import Zygote

STEPS = 10  # of a round, unless it is killed before


@dataclass
class Tally:
    """What happened: rounds, kills, steps by name, and what was wrong."""

    rounds: int = 0
    kills: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def live_a_day(
    zygote: Zygote, work: Path, *, rounds: int, seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Tally:  # fmt: skip
    """Live so many rounds and return what happened; every twentieth of them is said."""
    folder = Path(tempfile.mkdtemp(dir=work))
    path, tally, rng = folder / "store", Tally(), random.Random(seed)
    life = Life(seed)
    endless = life.steps(1 << 40)
    lived: list[Step] = []  # from the start on, as far as any round could have come
    done, before = 0, State()
    say(_row(["round", "kills", "steps", "items", "dead", "KB", "found"]))
    for n in range(1, rounds + 1):
        lived += islice(endless, max(done + STEPS + 1 - len(lived), 0))
        case = {"store": str(path), "watch": str(folder), "seed": seed, "first": done,
                "steps": done + STEPS, "kill": [rng.randint(1, 400), "midway"]}  # fmt: skip
        answer = zygote.run(case)
        tally.rounds += 1
        tally.kills += answer["killed"]
        reached = answer["acknowledged"]
        tally.steps.update(step.name for step in lived[done:reached])
        now = lived[reached - 1].after if reached else before
        allowed = [now, lived[reached].after] if answer["killed"] else [now]
        what = answer["said"] or fault(path, allowed, life, write=False)
        if what:
            tally.faults.append(f"round {n}, step {reached}: {what}")
            break
        # A step whose end was not acknowledged may be done: then it is not done again.
        if len(allowed) == 2 and allowed[0] != allowed[1]:
            reached += not fault(path, allowed[1:], life, write=False)
        done = reached
        if n % 20 == 0 or n == rounds:
            say(_row([n, tally.kills, done, *_size(path), "as the dict"]))
    shutil.rmtree(folder)
    return tally


def _size(path: Path) -> list[int]:
    with Store.open(path, readonly=True) as store:
        stats = store.collection(NAME).stats()
    return [stats.images + stats.texts, stats.dead, stats.bytes // 1024]


def _row(values: list) -> str:
    return "".join(f"{v:>12}" for v in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, Zygote(Path(work)) as zygote:
        tally = live_a_day(zygote, Path(work), rounds=args.rounds, seed=args.seed, say=print)
    print(f"\n{tally.rounds} rounds, {tally.kills} kills, {sum(tally.steps.values())} steps: "
          f"{dict(tally.steps)}\nfaults: {tally.faults or 'none'}")  # fmt: skip
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
