"""SIGKILL of repair, restore and export themselves, before and after their file operations.

    python -m tests.crash.tools --each 25

Whatever was killed is called again, and then all must be as if nothing had happened: the
repaired store holds what an undisturbed repair left, the restored one what was restored, and
the store that was replaced is aside.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Item, Store, StoreError
from index_store.copies import restore, snapshot
from index_store.errors import RestoreCutShort
from index_store.repair import repair
from tests.crash import flips
from tests.crash.powerloss import records
from tests.crash.shim import Zygote

TOOLS = ("repair", "repair the log", "restore", "replace", "export")


@dataclass
class Tally:
    """What was seen. kills: by tool; cut: how often a restore left no store, as it may."""

    kills: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    faults: list[str] = field(default_factory=list)


def do(tool: str, folder: Path) -> None:
    """Call the tool in a folder that `prepare` has made."""
    if tool.startswith("repair"):
        repair(folder / "store")
    elif tool == "export":
        from mmsearch.transfer import export

        export(folder / "store", folder / "out")
    else:
        restore(folder / "snap", folder / "store", replace=True)


def prepare(tool: str, folder: Path) -> None:
    """Make what the tool works on."""
    folder.mkdir()
    store = folder / "store"
    flips.make(store)
    if tool == "repair":
        for file in (*(store / "vec").iterdir(), *(store / "idx").iterdir()):
            _flip(file, 64 + 20)
    elif tool == "repair the log":
        # Committed and in the log alone, beside a damaged row: what a repair must not lose.
        with Store.open(store) as opened:
            opened.collection("default").update([Item("/p/9.jpg", stamp="in the log")])
            kept = {n: (store / f"meta.db{n}").read_bytes() for n in ("", "-wal")}
        for name, data in kept.items():
            (store / f"meta.db{name}").write_bytes(data)
        database = store / "meta.db"
        database.write_bytes(database.read_bytes().replace(b"/p/301.jpg", b"/p/3x1.jpg"))
    elif tool in {"restore", "replace"}:
        snapshot(store, folder / "snap")
        if tool == "restore":
            shutil.rmtree(store)
        else:
            with Store.open(store) as opened:
                opened.collection("default").delete(["/p/9.jpg"])


def killed(zygote: Zygote, work: Path, *, each: int, tools: Sequence[str] = TOOLS) -> Tally:
    """Kill each tool before and after so many operations, and all that change names; call it
    again each time."""
    tally = Tally()
    for tool in tools:
        sound = work / "sound"
        prepare(tool, sound)
        log = work / "record"
        wanted = _lived(zygote, sound, work, tool, {"record": str(log)})
        if "wrong" in wanted:
            raise RuntimeError(f"{tool}, undisturbed: {wanted}")
        operations = [op for op, *_ in records(log) if op != b"A"]
        names = {n for n, op in enumerate(operations, 1) if op in b"RUL"}
        spread = np.linspace(1, len(operations), min(each, len(operations))).astype(int)
        for n in sorted(names | set(spread.tolist())):
            for when in ("before", "after"):
                how = {"kill": [n, when]}
                found = _lived(zygote, sound, work, tool, how, tally)
                if found != wanted:
                    tally.faults.append(f"{tool}, {when} operation {n}: {found}"[:500])
        shutil.rmtree(sound)
    return tally


def _lived(
    zygote: Zygote, sound: Path, work: Path, tool: str, how: dict[str, Any],
    tally: Tally | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what is there in the end, after a kill and a second call, or what was wrong."""
    folder = work / "copy"
    shutil.copytree(sound, folder)
    try:
        answer = zygote.run({"tool": tool, "folder": str(folder), "watch": str(folder), **how})
        if answer["said"] or (tally is not None and not answer["killed"]):
            return {"wrong": f"it was not killed, or failed itself: {answer}"}
        if tally is not None:
            tally.kills[tool] += 1
            if wrong := AFTER_KILL.get(tool, lambda *_: "")(folder, tally):
                return {"wrong": wrong}
            if tool != "export" or not (folder / "out").exists():
                do(tool, folder)
        return _outcome(tool, folder)
    except StoreError as error:
        return {"wrong": f"{type(error).__name__}: {error}"}
    finally:
        shutil.rmtree(folder)


def _after_a_killed_replacement(folder: Path, tally: Tally) -> str:
    """Old or new must be there, or the error that says how to mend it; never an empty store."""
    try:
        with Store.open(folder / "store", create=True) as store:
            keys = store.collection("default").keys()
        return "" if len(keys) in {397, 398} else f"{len(keys)} items"
    except RestoreCutShort as error:
        tally.cut += 1
        return "" if error.aside.is_dir() else "the store that was there is nowhere"


AFTER_KILL: dict[str, Callable[[Path, Tally], str]] = {"replace": _after_a_killed_replacement}


def _outcome(tool: str, folder: Path) -> dict[str, Any]:
    """Return all that the tool was to bring about."""
    if tool == "export":
        manifest = json.loads((folder / "out" / "manifest.json").read_text())
        manifest.pop("created")
        return manifest | {"parts": [p.name for p in folder.glob("out.*") if p.suffix != ".part"]}
    with Store.open(folder / "store", readonly=True) as store:
        problems = [f"{p.where}: {p.what}" for p in store.verify(full=True)]
        c = store.collection("default")
        items = c.get(c.keys())
        found = {
            "problems": problems, "items": items, "failures": [f.key for f in c.failures()],
            "vectors": c.vectors([i.key for i in items]).tolist(),
        }  # fmt: skip
    if tool == "replace":
        asides = list(folder.glob("store.before-*"))
        found["aside"] = 397 in {len(_keys(aside)) for aside in asides}
    return found


def _keys(store: Path) -> list[str]:
    with Store.open(store, readonly=True) as opened:
        return opened.collection("default").keys()


def _flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--each", type=int, default=25, help="operations of each tool")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, Zygote(Path(work)) as zygote:
        tally = killed(zygote, Path(work), each=args.each)
    print(json.dumps(tally.__dict__))
    raise SystemExit(bool(tally.faults))


if __name__ == "__main__":
    main()
