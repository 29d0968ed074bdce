"""The life of a store, step by step, from a seed; a dict beside it says what must be there.

Each step is one transaction at most, so that after a crash the store must hold what it held
after the last acknowledged step, or after the one under way: nothing between, nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from index_store import Collection, Failure, Item, Space, Store, StoreError
from index_store.errors import StoreNotFound

NAME, STAGED = "default", "default~next"
# One of everything, in an order in which each does something.
TOUR = ("index", "add", "update", "delete", "compact", "index", "rename", "failure", "add",
        "reopen", "reembed", "delete", "compact", "failure")  # fmt: skip


@dataclass(frozen=True)
class State:
    """What must be there: item and number of its vector by key, reasons of failures by key."""

    items: dict[str, tuple[Item, int]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What it is called, what does it, and what must be there afterwards."""

    name: str
    do: Callable[[Store], None]
    after: State


class Reopen(Exception):
    """The step is to close the store and open it anew."""


class Life:
    """The same seed lives the same life. tour: one of everything first."""

    def __init__(self, seed: int, *, dim: int = 8, start: int = 300, tour: bool = False) -> None:
        self.dim = dim
        self.start = 400 if tour else start  # three in four are pictures; an index needs 256
        self._tour = list(TOUR) if tour else []
        self._rng = random.Random(seed)
        self._state = State()
        self._next = 0
        self._vectors: dict[int, np.ndarray] = {}
        self.numbers: dict[bytes, int] = {}  # of the vectors, by their bytes on disk

    def vector(self, number: int) -> np.ndarray:
        """Return the unit vector of that number."""
        if number not in self._vectors:
            row = np.random.default_rng(number).standard_normal(self.dim).astype(np.float32)
            self._vectors[number] = row / np.linalg.norm(row)
            self.numbers[self._vectors[number].astype(np.float16).tobytes()] = number
        return self._vectors[number]

    def steps(self, n: int) -> Iterator[Step]:
        """Yield n steps, the first of which make the collection and fill it."""
        return islice(self._all(), n)

    def _all(self) -> Iterator[Step]:
        yield self._step("create", lambda s: _create(s, NAME, self.dim), {})
        yield self._add(self.start)
        while True:
            yield from self._some()

    def _some(self) -> Iterator[Step]:
        kinds = ["add"] * 5 + ["update", "rename", "delete"] * 3 + ["failure"] * 2
        kinds += ["index", "compact", "compact", "reopen", "reembed"]
        kind = self._tour.pop(0) if self._tour else self._rng.choice(kinds)
        if kind == "add":
            yield self._add(self._rng.choice([1, 3, 16, 40]))
        elif kind == "index":
            yield self._step("index", lambda s: _build(s), self._state.items)
        elif kind == "compact":
            yield self._step("compact", lambda s: _compact(s), self._state.items)
        elif kind == "reopen":
            yield self._step("reopen", _reopen, self._state.items)
        else:
            yield from getattr(self, f"_{kind}")()

    def _step(self, name: str, do: Callable[[Store], None], items: dict, **more) -> Step:
        self._state = State(dict(items), more.get("failures", self._state.failures))
        return Step(name, do, self._state)

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _item(self, key: str) -> Item:
        n = self._number()
        kind = "text" if key.startswith("t") else "image"
        return Item(key, kind, f"file:///{key}", "ein Bär" if kind == "text" else "", f"s{n}",
                    f"c{n}", {"n": n, "name": "süß", "x": n / 7})  # fmt: skip

    def _pick(self, most: int) -> list[str]:
        known = sorted(self._state.items)
        return self._rng.sample(known, min(len(known), self._rng.randint(1, most)))

    def _add(self, n: int) -> Step:
        old = self._pick(max(n // 3, 1)) if self._state.items else []
        new = [f"{self._rng.choice('pppt')}{self._number()}" for _ in range(n)]
        chosen = {key: (self._item(key), self._number()) for key in [*new, *old]}
        failures = {k: r for k, r in self._state.failures.items() if k not in chosen}

        def do(store: Store) -> None:
            rows = np.stack([self.vector(v) for _, v in chosen.values()])
            store.collection(NAME).add([i for i, _ in chosen.values()], rows)

        return self._step("add", do, {**self._state.items, **chosen}, failures=failures)

    def _update(self) -> Iterator[Step]:
        chosen = {k: (self._item(k), self._state.items[k][1]) for k in self._pick(20)}
        items = [i for i, _ in chosen.values()]
        yield self._step("update", lambda s: _same(s.collection(NAME).update(items), len(items)),
                         {**self._state.items, **chosen})  # fmt: skip

    def _delete(self) -> Iterator[Step]:
        keys = self._pick(60)
        left = {k: v for k, v in self._state.items.items() if k not in keys}
        yield self._step("delete", lambda s: _same(s.collection(NAME).delete(keys), len(keys)),
                         left)  # fmt: skip

    def _rename(self) -> Iterator[Step]:
        """As an ingest does it: the vector is taken over, then the old key is deleted."""
        (old,) = self._pick(1)
        new = f"{old[0]}{self._number()}"
        item, number = self._item(new), self._state.items[old][1]

        def take_over(store: Store) -> None:
            collection = store.collection(NAME)
            collection.add([item], collection.vectors([old]))

        yield self._step("rename", take_over, {**self._state.items, new: (item, number)})
        left = {k: v for k, v in self._state.items.items() if k != old}
        yield self._step("rename", lambda s: _same(s.collection(NAME).delete([old]), 1), left)

    def _failure(self) -> Iterator[Step]:
        known = sorted(self._state.failures)
        if known and self._rng.random() < 0.4:
            key = self._rng.choice(known)
            rest = {k: r for k, r in self._state.failures.items() if k != key}
            yield self._step("failure", lambda s: s.collection(NAME).clear_failures([key]),
                             self._state.items, failures=rest)  # fmt: skip
        else:
            key, reason = f"bad{self._number()}", f"cut short {self._next}"
            yield self._step(
                "failure",
                lambda s: s.collection(NAME).add_failures([Failure(key, key, reason)]),
                self._state.items,
                failures={**self._state.failures, key: reason},
            )

    def _reembed(self) -> Iterator[Step]:
        """Another model: new vectors gather beside the old, one transaction switches."""
        new = {k: (i, self._number()) for k, (i, _) in self._state.items.items()}
        failures = [Failure(k, k, r) for k, r in self._state.failures.items()]

        def fill(store: Store) -> None:
            staged = store.collection(STAGED)
            rows = np.stack([self.vector(v) for _, v in new.values()])
            staged.add([i for i, _ in new.values()], rows)

        same = self._state.items
        yield self._step("reembed", lambda s: _create(s, STAGED, self.dim), same)
        if new:
            yield self._step("reembed", fill, same)
        yield self._step("reembed", lambda s: s.collection(STAGED).add_failures(failures), same)
        yield self._step("switch", lambda s: _switch(s), new)


def live(
    path: Path, life: Life, n: int, acknowledge: Callable[[int], None], *, first: int = 0
) -> None:
    """Live up to step n, acknowledging the number of steps done after each.

    Args:
        first: so many steps were lived before; the store is there.
    """
    acknowledge(first)
    store = Store.open(path, create=True)
    try:
        for done, step in enumerate(life.steps(n), 1):
            if done <= first:
                continue
            try:
                step.do(store)
            except Reopen:
                store.close()
                store = Store.open(path)
            acknowledge(done)
    finally:
        store.close()


def fault(path: Path, allowed: list[State], life: Life, *, write: bool = True) -> str:
    """Return what is wrong with a store that may be in any of the allowed states; "" if nothing.

    Read first as a reader finds it, then opened for writing, written to, and read again.
    """
    for state in allowed:
        for _, number in state.items.values():
            life.vector(number)
    found = _differences(path, allowed, life)
    if found or not write:
        return found
    try:
        with Store.open(path, create=True) as store:
            if NAME in store.collections():
                collection = store.collection(NAME)
                collection.add([Item("one more")], life.vector(1)[None])
                collection.delete(["one more"])
                if STAGED in store.collections():
                    store.drop_collection(STAGED)
                collection.compact("image", least=0)
    except StoreError as error:
        return f"on opening for writing: {error}"
    found = _differences(path, allowed, life)
    return f"after recovery: {found}" if found else ""


def _differences(path: Path, allowed: list[State], life: Life) -> str:
    try:
        store = Store.open(path, readonly=True)
    except StoreNotFound:
        return "" if any(not s.items for s in allowed) else "the store is gone"
    except StoreError as error:
        return f"{type(error).__name__}: {error}"
    with store:
        try:
            if problems := store.verify(full=True):
                return f"verify: {problems[0]}"
            if NAME not in store.collections():
                return "" if any(not s.items for s in allowed) else "the collection is gone"
            collection = store.collection(NAME)
            there = contents(collection, life)
            if there not in allowed:
                return _what_differs(there, allowed[-1])
            return answers(collection, there, life)
        except StoreError as error:
            return f"{type(error).__name__}: {error}"


def contents(collection: Collection, life: Life) -> State:
    """Return what is there; a vector that is not the one it should be has the number -1."""
    items = collection.get(collection.keys())
    rows = collection.vectors([i.key for i in items]).astype(np.float16)
    numbers = [life.numbers.get(row.tobytes(), -1) for row in rows]
    return State(
        {i.key: (i, n) for i, n in zip(items, numbers, strict=True)},
        {f.key: f.reason for f in collection.failures()},
    )


def answers(collection: Collection, state: State, life: Life) -> str:
    """Return what is wrong with the answer to one query, compared with the obvious one."""
    numbers = [n for item, n in state.items.values() if item.kind == "image"]
    query = life.vector(3)
    found = [m.score for m in collection.search(query[None], 5, effort=10_000)[0]]
    stored = [life.vector(n).astype(np.float16).astype(np.float32) @ query for n in numbers]
    best = np.clip(np.sort(stored)[::-1][:5], -1, 1)
    same = len(found) == len(best) and np.allclose(found, best, atol=1e-5)
    return "" if same else "a search does not find the best"


def _what_differs(there: State, expected: State) -> str:
    missing = expected.items.keys() - there.items.keys()
    more = there.items.keys() - expected.items.keys()
    wrong = sum(n == -1 for _, n in there.items.values())
    return f"{len(missing)} missing, {len(more)} too many, {wrong} wrong vectors, or other values"


def _create(store: Store, name: str, dim: int) -> None:
    if name in store.collections():  # left by a life before
        store.drop_collection(name)
    store.create_collection(name, Space("test/1", dim), model="test")


def _build(store: Store) -> None:
    store.collection(NAME).build_index("image", threshold=256)


def _compact(store: Store) -> None:
    store.collection(NAME).compact("image", least=0)


def _switch(store: Store) -> None:
    store.replace_collection(NAME, STAGED)


def _reopen(_store: Store) -> None:
    raise Reopen


def _same(found: int, expected: int) -> None:
    if found != expected:
        raise AssertionError(f"{found} items were there, {expected} expected")
