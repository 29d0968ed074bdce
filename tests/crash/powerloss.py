"""Power loss: play a recorded life up to some moment, keep of what was not synced any part.

    python -m tests.crash.powerloss --seeds 4 --states 300

The model is stricter than most disks. A file's bytes are safe once that file was synced, a
name once its folder was; a file's sync does not save its name. Of the rest any subset
reaches the disk: single sectors of a write, a longer file whose bytes never came (zeros),
names out of order. A harness that always passes proves nothing, so four sabotaged variants
of the store must fail.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.life import Life, State, fault
from tests.crash.shim import Zygote

SECTOR = 512
HEAD = struct.Struct("<cQQQ")
SABOTAGED: dict[str, dict[str, str]] = {
    "vectors are not synced": {"skip": "vectors"},
    "folders are not synced": {"skip": "folders"},
    "indexes are not synced": {"skip": "indexes"},
    "synchronous=NORMAL": {"synchronous": "NORMAL"},
}


@dataclass
class File:
    """What is on the disk for certain, and the writes and cuts since."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: cut to there

    def sync(self) -> None:
        for at, data in self.since:
            _apply(self.safe, at, data)
        self.since.clear()

    def after_power_loss(self, rng: random.Random, chance: float) -> bytes:
        """Return what may be found: of each write since the sync some sectors, or none."""
        data = bytearray(self.safe)
        for at, block in self.since:
            if block is None:
                if rng.random() < chance:
                    _apply(data, at, None)
                continue
            for start in range(0, len(block), SECTOR):
                part = block[start : start + SECTOR]
                if rng.random() < chance:
                    _apply(data, at + start, part)
                elif rng.random() < 0.2:  # the length came, the bytes did not
                    data.extend(bytes(max(at + start + len(part) - len(data), 0)))
        return bytes(data)


def _apply(data: bytearray, at: int, block: bytes | None) -> None:
    if block is None:
        del data[at:]
        data.extend(bytes(at - len(data)))
        return
    data.extend(bytes(max(at - len(data), 0)))
    data[at : at + len(block)] = block


@dataclass
class Folder:
    """Names that are on the disk for certain, and the changes since: (name, file or None)."""

    safe: dict[str, File | Folder] = field(default_factory=dict)
    since: list[list[tuple[str, File | Folder | None]]] = field(default_factory=list)

    def now(self) -> dict[str, File | Folder]:
        names = dict(self.safe)
        for change in self.since:
            _rename(names, change)
        return names

    def after_power_loss(self, rng: random.Random) -> dict[str, File | Folder]:
        names = dict(self.safe)
        if rng.random() < 0.5:  # a journal: the first so many
            kept = self.since[: rng.randint(0, len(self.since))]
        else:
            kept = [change for change in self.since if rng.random() < 0.5]
        for change in kept:
            _rename(names, change)
        return names


def _rename(names: dict[str, File | Folder], change: list) -> None:
    for name, what in change:
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


class Disk:
    """What a record has done to one folder, up to some moment."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = {str(root): Folder()}
        self._inodes: dict[int, File] = {}
        self.acknowledged = 0

    def play(self, op: bytes, inode: int, offset: int, data: bytes) -> None:
        """Do what one record says."""
        names = [n.decode() for n in data.split(b"\0")] if op in b"CDRLUM" else []
        match op:
            case b"C":
                self._inodes[inode] = File()
                self._note([(names[0], self._inodes[inode])])
            case b"M":
                self._folders[names[0]] = Folder()
                self._note([(names[0], self._folders[names[0]])])
            case b"W":
                self._inodes[inode].since.append((offset, data))
            case b"T":
                self._inodes[inode].since.append((offset, None))
            case b"S":
                self._inodes[inode].sync()
            case b"D":
                folder = self._folders[names[0]]
                folder.safe, folder.since = folder.now(), []
            case b"R":
                self._note([(names[0], None), (names[1], self._find(names[0]))])
            case b"L":
                self._note([(names[1], self._find(names[0]))])
            case b"U":
                self._note([(names[0], None)])
            case b"A":
                self.acknowledged = offset

    def lose_power(self, rng: random.Random, to: Path) -> None:
        """Write to the folder `to` what may be found after the power is back."""
        chance = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        self._write(self._folders[str(self._root)], to, rng, chance)

    def _write(self, folder: Folder, to: Path, rng: random.Random, chance: float) -> None:
        to.mkdir()
        for name, what in folder.after_power_loss(rng).items():
            if isinstance(what, Folder):
                self._write(what, to / name, rng, chance)
            else:
                (to / name).write_bytes(what.after_power_loss(rng, chance))

    def _note(self, change: list[tuple[str, File | Folder | None]]) -> None:
        """One change of names; a rename's two halves come together or not at all."""
        folder = self._folders[change[0][0].rpartition("/")[0]]
        folder.since.append([(path.rpartition("/")[2], what) for path, what in change])

    def _find(self, path: str) -> File | Folder:
        folder, _, name = path.rpartition("/")
        found = self._folders[folder].now()[name]
        if isinstance(found, Folder):
            raise NotImplementedError("a folder was renamed")
        return found


def records(path: Path) -> Iterator[tuple[bytes, int, int, bytes]]:
    """Yield op, inode, offset and data of each record of `shim.c`."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        op, inode, offset, size = HEAD.unpack_from(data, at)
        at += HEAD.size
        yield op, inode, offset, data[at : at + size]
        at += size


def states_of(life: Life, steps: int) -> list[State]:
    """Return what must be there after 0, 1, 2 ... steps, and once more at the end."""
    after = [State(), *(s.after for s in life.steps(steps))]
    return [*after, after[-1]]


def power_losses(
    zygote: Zygote, work: Path, *, seed: int, states: int, steps: int = 40,
    sabotage: dict[str, str] | None = None,
) -> list[str]:  # fmt: skip
    """Record one life and return what was wrong in each bad one of so many states."""
    folder = Path(tempfile.mkdtemp(dir=work))
    watched, log = folder / "disk", folder / "record"
    watched.mkdir()
    case = {"store": str(watched / "store"), "watch": str(watched), "record": str(log),
            "seed": seed, "steps": steps, **(sabotage or {})}  # fmt: skip
    answer = zygote.run(case)
    if answer["acknowledged"] != steps or answer["said"]:
        raise RuntimeError(f"the life itself failed: {answer}")
    life = Life(seed)
    expected = states_of(life, steps)
    ops = list(records(log))
    rng = random.Random(seed)
    moments = sorted(rng.randint(1, len(ops)) for _ in range(states))
    disk, bad, played = Disk(watched), [], 0
    for n, moment in enumerate(moments):
        for op in ops[played:moment]:
            disk.play(*op)
        played = moment
        found = folder / f"state{n}"
        disk.lose_power(rng, found)
        done = disk.acknowledged
        if what := fault(found / "store", expected[done : done + 2], life):
            bad.append(f"seed {seed}, operation {moment} of {len(ops)}, step {done}: {what}")
        shutil.rmtree(found)
    shutil.rmtree(folder)
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--states", type=int, default=300, help="for each seed")
    parser.add_argument("--sabotage", choices=SABOTAGED, help="a variant that must fail")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, Zygote(Path(work)) as zygote:
        bad = []
        for seed in range(args.first, args.first + args.seeds):
            sabotage = SABOTAGED.get(args.sabotage or "")
            bad += power_losses(zygote, Path(work), seed=seed, states=args.states,
                                sabotage=sabotage)  # fmt: skip
    print(json.dumps({"states": args.seeds * args.states, "bad": len(bad), "first": bad[:5]}))
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
