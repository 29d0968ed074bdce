"""The fault suite: every sort of fault, its figures in a table. Exits with 1 if anything is lost.

    python -m tests.crash.suite            each CI run
    python -m tests.crash.suite --long     before a release: hours

It needs Linux and a C compiler (`shim.c`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash import day, disks, flips, kills, powerloss, readers, tools
from tests.crash.shim import Zygote, why_not

# What: (each CI run, long)
FIGURES = {
    "kills": (150, 5_000),
    "each": (2, 0),  # of every named point; 0: all
    "operations": (10, 1_000),  # of repair, restore and export
    "rows": (100_000, 100_000),
    "seeds": (4, 50),
    "states": (300, 1_000),
    "sabotaged": (60, 400),
    "disks": (100, 1_000),
    "flips": (600, 20_000),
    "seconds": (20, 3_600),
    "rounds": (40, 200),
}
Line = tuple[str, str, bool]


def parts(work: Path, figures: dict[str, int]) -> list[Callable[[Zygote], list[Line]]]:
    """Return what the suite does, each part a function that returns its lines of the table."""

    def random_kills(zygote: Zygote) -> list[Line]:
        t = kills.random_kills(zygote, work, kills=figures["kills"])
        return [("kill -9 at random moments, 512-d", f"{t.kills} kills, {t.acknowledged:,} steps "
                 f"acknowledged, {_bad(t.faults)}", not t.faults)]  # fmt: skip

    def named_kills(zygote: Zygote) -> list[Line]:
        t = kills.named_kills(zygote, work, each=figures["each"] or None)
        return [("kill -9 at named points", f"{len(t.points)} points, {t.kills} kills, "
                 f"{_bad(t.faults)}", not t.faults)]  # fmt: skip

    def killed_tools(zygote: Zygote) -> list[Line]:
        t = tools.killed(zygote, work, each=figures["operations"])
        return [("kill -9 of repair, restore, export", f"{sum(t.kills.values())} kills, "
                 f"{_bad(t.faults)}", not t.faults)]  # fmt: skip

    def reopening(zygote: Zygote) -> list[Line]:
        took = kills.reopen_after_kill(zygote, work, rows=figures["rows"])
        return [(f"reopen after a kill, {figures['rows']:,} x 512", f"{took:.2f} s", took <= 2)]

    def power(zygote: Zygote) -> list[Line]:
        bad = []
        for seed in range(figures["seeds"]):
            bad += powerloss.power_losses(zygote, work, seed=seed, states=figures["states"])
        count = figures["seeds"] * figures["states"]
        return [("power loss", f"{count:,} states, {_bad(bad)}", not bad)]

    def sabotage(zygote: Zygote) -> list[Line]:
        lines = []
        for name, how in powerloss.SABOTAGED.items():
            states = figures["sabotaged"]
            bad = powerloss.power_losses(zygote, work, seed=0, states=states, sabotage=how)
            lines.append((f"  sabotaged: {name}", f"{len(bad)} of {states} states bad, as it must "
                          "be" if bad else "PASSES: the harness is blind", bool(bad)))  # fmt: skip
        return lines

    def bad_disks(zygote: Zygote) -> list[Line]:
        t = disks.bad_disks(zygote, work, cases=figures["disks"])
        return [("full disk, RLIMIT_FSIZE, EIO", f"{sum(t.cases.values())} cases, {t.met} met the "
                 f"error, {_bad(t.faults)}", not t.faults)]  # fmt: skip

    def damage(_: Zygote) -> list[Line]:
        t = flips.damaged(work, cases=figures["flips"])
        return [("bit flips, cuts, sectors", f"{sum(t.cases.values()):,} cases: {t.found} found, "
                 f"{t.harmless} harmless, {t.repaired} repaired, {t.beyond} beyond repair, "
                 f"{_bad(t.faults)}", not t.faults)]  # fmt: skip

    def beside(_: Zygote) -> list[Line]:
        t = readers.side_by_side(work, seconds=figures["seconds"])
        return [("2 readers, 1 writer", f"{t.commits:,} commits, {t.compactions} compactions, "
                 f"{t.snapshots:,} snapshots, {_bad(t.faults)}", not t.faults)]  # fmt: skip

    def days(zygote: Zygote) -> list[Line]:
        t = day.live_a_day(zygote, work, rounds=figures["rounds"])
        return [("24 h in fast motion", f"{t.rounds} rounds, {t.kills} kills, "
                 f"{sum(t.steps.values())} steps, {_bad(t.faults)}", not t.faults)]  # fmt: skip

    return [random_kills, named_kills, killed_tools, reopening, power, sabotage, bad_disks, damage,
            beside, days]  # fmt: skip


def _bad(faults: list[str]) -> str:
    for fault in faults[:5]:
        print(fault, file=sys.stderr)
    return f"{len(faults)} bad"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--long", action="store_true", help="the figures for a release: hours")
    parser.add_argument("--part", type=float, default=1.0, metavar="F",
                        help="only this part of the figures, to try it")  # fmt: skip
    parser.add_argument("--only", metavar="NAME", help="only the part of this name")
    args = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    figures = {n: max(round(f[args.long] * args.part), min(f[args.long], 1))
               for n, f in FIGURES.items()}  # fmt: skip
    passed, started = True, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Zygote(Path(folder)) as zygote:
        for part in parts(Path(folder), figures):
            if args.only and part.__name__ != args.only:
                continue
            before = time.monotonic()
            for name, what, good in part(zygote):
                passed &= good
                print(f"{name:<44} {'ok ' if good else 'BAD'} {what}", flush=True)
            print(f"{'':<48} {time.monotonic() - before:.0f} s", flush=True)
    print(f"{'passed' if passed else 'FAILED'} in {time.monotonic() - started:.0f} s")
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()
