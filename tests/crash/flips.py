"""Bits that flip and files that are cut short: found by `verify --full`, or harmless.

    python -m tests.crash.flips --cases 600

Harmless means: every answer is what it was. An answer may be refused with a clear error. And
what is damaged can be repaired: afterwards `verify --full` finds nothing, every item that is
still there is the one that was stored, and every other is named among the failures.
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

import numpy as np

from index_store import Compare, Failure, Item, Space, Store, StoreError
from index_store.errors import StoreCorrupt, StoreNotFound, StoreTooNew
from index_store.repair import repair

DIM, ROWS = 8, 400


@dataclass
class Tally:
    """What was seen. beyond: so damaged that the repair refused and left all as it was."""

    cases: Counter[str] = field(default_factory=Counter)
    found: int = 0
    refused: int = 0
    harmless: int = 0
    repaired: int = 0
    beyond: int = 0
    faults: list[str] = field(default_factory=list)


def make(path: Path) -> None:
    """Write a store with pictures, texts, a failure, and an index."""
    rows = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with Store.open(path, create=True) as store:
        c = store.create_collection("default", Space("test/1", DIM), model="color")
        items = [
            Item(f"/p/{n}.jpg", "image", f"file:///p/{n}.jpg", "", f"1-{n}", f"c{n}", {"width": n})
            if n % 8
            else Item(f"/t/{n}", "text", text=f"Nummer {n}")
            for n in range(ROWS)
        ]
        c.add(items, rows)
        c.add([Item("/p/1.jpg", stamp="2")], rows[5:6])
        c.delete(["/p/2.jpg", "/p/399.jpg"])
        c.add_failures([Failure("/p/bad.jpg", "file:///p/bad.jpg", "cut short", "1-1")])
        c.build_index("image", threshold=256)


def everything(path: Path) -> dict[str, Any]:
    """Return the answers to one question of each sort.

    Raises:
        StoreError: one of them was refused.
    """
    query = np.eye(DIM, dtype=np.float32)[:3]
    with Store.open(path, readonly=True) as store:
        c = store.collection("default")
        keys = c.keys()
        return {
            "names": store.collections(),
            "collection": (c.space, c.model),
            "keys": keys,
            "items": c.get(keys),
            "one": [c.get([k]) for k in ("/p/3.jpg", "/t/8", "/p/2.jpg")],
            "vectors": c.vectors(keys).tolist(),
            "filtered": c.keys(Compare("width", ">", 300)),
            "twins": c.keys_by_content([f"c{n}" for n in range(ROWS)]),
            "counts": (c.count("image"), c.count("text")),
            "failures": c.failures(),
            "pictures": c.search(query, 10),
            "texts": c.search(query, 10, kind="text"),
            "some": c.search(query, 10, where=Compare("width", "<", 100)),
        }


def damaged(work: Path, *, cases: int, seed: int = 0) -> Tally:
    """Damage so many copies and see what becomes of each."""
    sound = work / "sound"
    make(sound)
    expected = everything(sound)
    tally, rng = Tally(), random.Random(seed)
    for _ in range(cases):
        copy = work / "copy"
        shutil.copytree(sound, copy)
        what = _damage(copy, rng)
        tally.cases[what.split()[0]] += 1
        _judge(copy, expected, what, tally)
        shutil.rmtree(copy)
    return tally


def _damage(path: Path, rng: random.Random) -> str:
    """Flip a bit, cut a file short, or write over a sector; return what was done."""
    files = [path / "meta.db", *sorted((path / "vec").iterdir()), *sorted((path / "idx").iterdir())]
    file = rng.choice([files[0], *files])  # the database is the largest part, and the truth
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    how = rng.choice(["flip"] * 6 + ["cut", "sector"])
    if how == "flip":
        bit = rng.randrange(8)
        data[at] ^= 1 << bit
        what = f"bit {bit} at {at}"
    elif how == "cut":
        del data[at:]
        what = f"to {at}"
    else:
        at -= at % 512
        data[at : at + 512] = rng.choice([bytes(512), rng.randbytes(512)])[: len(data) - at]
        what = f"at {at}"
    file.write_bytes(data)
    return f"{how} {file.relative_to(path)} {what}"


def _judge(path: Path, expected: dict[str, Any], what: str, tally: Tally) -> None:
    found = _verify(path)
    refused = ""
    try:
        there = everything(path)
        wrong = [name for name in expected if there[name] != expected[name]]
    except StoreError as error:
        wrong, refused = [], f"{type(error).__name__}: {error}"
    if found:
        tally.found += 1
    elif refused:
        tally.refused += 1
        tally.faults.append(f"{what}: verify finds nothing, but: {refused}")
    elif wrong:
        tally.faults.append(f"{what}: nothing reports that these are wrong: {wrong}")
    else:
        tally.harmless += 1
        return
    if not found:
        return
    before = (path / "meta.db").read_bytes()
    try:
        repair(path)
    except (StoreNotFound, StoreTooNew):
        # The page that names the tables, or the number of the format.
        tally.beyond += 1
        return
    except StoreCorrupt as error:
        if "restore a snapshot" in str(error) and (path / "meta.db").read_bytes() == before:
            tally.beyond += 1
        else:
            tally.faults.append(f"{what} ({found[0]}): the repair failed: {error}")
        return
    if bad := _still_wrong(path, expected):
        tally.faults.append(f"{what} ({found[0]}): after the repair: {bad}")
    else:
        tally.repaired += 1


def _verify(path: Path) -> list[str]:
    try:
        with Store.open(path, readonly=True) as store:
            return [f"{p.where}: {p.what}" for p in store.verify(full=True)]
    except StoreError as error:
        return [f"{type(error).__name__}: {error}"]


def _still_wrong(path: Path, expected: dict[str, Any]) -> str:
    """Return what is still wrong after a repair."""
    if found := _verify(path):
        return found[0]
    with Store.open(path, readonly=True) as store:
        c = store.collection("default")
        items = c.get(c.keys())
        known = {i.key: i for i in expected["items"]}
        if [i for i in items if known.get(i.key) != i]:
            return "an item is not the one that was stored"
        vectors = dict(zip(expected["keys"], expected["vectors"], strict=True))
        there = c.vectors([i.key for i in items]).tolist()
        if any(vectors[i.key] != v for i, v in zip(items, there, strict=True)):
            return "a vector is not the one that was stored"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        tally = damaged(Path(work), cases=args.cases, seed=args.seed)
    print(json.dumps(tally.__dict__))
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
