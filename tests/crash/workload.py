"""What a forked child does: live a life under the shim, say how far it came and what it saw."""

from __future__ import annotations

import ctypes
import os
import sqlite3
from pathlib import Path
from typing import Any

from index_store import Store, StoreError, db
from index_store.errors import StoreCorrupt, StoreFull, StoreReadOnly, WriteFailed
from tests.crash import life as lives
from tests.crash import shim, tools

REFUSED = (StoreFull, WriteFailed, StoreReadOnly)


def run(case: dict[str, Any], library: ctypes.CDLL, answers: int) -> None:
    """Live the life; lines "done N" and "said TEXT" go to the file descriptor `answers`."""

    def acknowledge(done: int) -> None:
        library.shim_ack(ctypes.c_long(done))
        os.write(answers, f"done {done}\n".encode())

    def say(text: str) -> None:
        os.write(answers, f"said {text!r}\n".encode() if text else b"")

    if case.get("synchronous"):
        _weaken(case["synchronous"])
    shim.arm(library, case)
    if "tool" in case:
        tools.do(case["tool"], Path(case["folder"]))
        acknowledge(1)
        return
    life = life_of(case)
    path, steps = Path(case["store"]), case["steps"]
    if "fail" in case or "quota" in case or "limit" in case:
        if "limit" in case:
            _limit(case["limit"])
        _live_on_a_bad_disk(path, life, steps, acknowledge, say)
    else:
        lives.live(path, life, steps, acknowledge, first=case.get("first", 0))


def life_of(case: dict[str, Any]) -> lives.Life:
    """Return the life that a case is about."""
    return lives.Life(case["seed"], dim=case.get("dim", 8), tour=case.get("tour", False))


def _live_on_a_bad_disk(path: Path, life: lives.Life, n: int, acknowledge: Any, say: Any) -> None:
    """Live until the disk refuses; what is promised then is checked here, in the process."""
    before = lives.State()
    acknowledge(0)
    try:
        store = Store.open(path, create=True)
    except StoreError as error:
        say(_unclear(error))
        return
    for done, step in enumerate(life.steps(n), 1):
        closed = False
        try:
            try:
                step.do(store)
            except lives.Reopen:
                store.close()
                closed = True
                store = Store.open(path)
        except StoreError as error:
            say(_unclear(error))
            say(lives.fault(path, [before, step.after], life, write=False))
            say("" if closed else _still_takes_writes(store, error))
            return
        before = step.after
        acknowledge(done)
    store.close()


def _unclear(error: StoreError) -> str:
    """Return "" if the error says what a user needs: what failed, that what was there is safe."""
    clear = isinstance(error, REFUSED) and "\n" not in str(error) and str(error.path) in str(error)
    return "" if clear else f"unclear: {type(error).__name__}: {error}"


def _still_takes_writes(store: Store, first: StoreError) -> str:
    """After an error the kernel's page cache cannot be trusted: all writes must be refused."""
    if lives.NAME not in store.collections() or isinstance(first, StoreCorrupt):
        return ""
    try:
        store.collection(lives.NAME).delete(["nothing has this key"])
    except REFUSED:
        return ""
    return f"the store took a write after: {first}"


def _weaken(level: str) -> None:
    """Sabotage: what the store's connections ask of SQLite as to durability."""

    class Weak(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
            return super().execute(sql.replace("synchronous=FULL", f"synchronous={level}"), *args)

    class Module:
        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        @staticmethod
        def connect(*args: Any, **options: Any) -> sqlite3.Connection:
            return sqlite3.connect(*args, **options, factory=Weak)

    db.sqlite3 = Module()  # type: ignore[assignment]


def _limit(size: int) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
