"""Any order of operations leaves the collection equal to a dict (Hypothesis finds the order)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from index_store import Compare, Failure, Item, Store
from tests.index_store.conftest import SPACE, unit_rows

VECTORS = unit_rows(64)
KEYS = st.sampled_from([f"k{n}" for n in range(12)])
NUMBERS = st.integers(0, 63)
KINDS = st.sampled_from(["image", "text"])


class CollectionMachine(RuleBasedStateMachine):
    """The store beside a dict: key -> (item, number of its vector)."""

    @initialize()
    def create(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name) / "s", create=True)
        self.collection = self.store.create_collection("default", SPACE)
        self.items: dict[str, tuple[Item, int]] = {}
        self.failures: dict[str, str] = {}

    @rule(entries=st.lists(st.tuples(KEYS, KINDS, NUMBERS, NUMBERS), max_size=6))
    def add(self, entries: list) -> None:
        items = [Item(k, kind, meta={"n": n}) for k, kind, n, _ in entries]
        rows = VECTORS[[v for *_, v in entries]].reshape(-1, 8)
        report = self.collection.add(items, rows)
        new = {i.key for i in items} - self.items.keys()
        assert (report.added, report.updated) == (len(new), len(items) - len(new))
        self.items |= {i.key: (i, v) for i, (*_, v) in zip(items, entries, strict=True)}
        for item in items:
            self.failures.pop(item.key, None)

    @rule(key=KEYS, n=NUMBERS)
    def update(self, key: str, n: int) -> None:
        kind = self.items[key][0].kind if key in self.items else "image"
        item = Item(key, kind, meta={"n": n})
        assert self.collection.update([item]) == (key in self.items)
        if key in self.items:
            self.items[key] = (item, self.items[key][1])

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete(self, keys: list[str]) -> None:
        there = set(keys) & self.items.keys()
        assert self.collection.delete(keys) == len(there)
        for key in keys:
            self.items.pop(key, None)
            self.failures.pop(key, None)

    @rule(old=KEYS, new=KEYS)
    def rename(self, old: str, new: str) -> None:
        if old in self.items and new not in self.items:
            item, number = self.items.pop(old)
            renamed = Item(new, item.kind, meta=item.meta)
            self.collection.rekey({old: renamed}, {})
            self.items[new] = (renamed, number)

    @rule(key=KEYS, reason=st.sampled_from(["cut short", "no picture"]))
    def fail(self, key: str, reason: str) -> None:
        self.collection.add_failures([Failure(key, "", reason)])
        self.failures[key] = reason

    @rule(kind=KINDS)
    def compact(self, kind: str) -> None:
        self.collection.compact(kind, least=0)  # type: ignore[arg-type]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(Path(self.folder.name) / "s")
        self.collection = self.store.collection("default")

    @rule(kind=KINDS, low=NUMBERS, query=NUMBERS, k=st.integers(1, 15))
    def search(self, kind: str, low: int, query: int, k: int) -> None:
        chosen = [(i.key, v) for i, v in self.items.values()
                  if i.kind == kind and i.meta["n"] >= low]  # fmt: skip
        (hits,) = self.collection.search(
            VECTORS[[query]],
            k,
            kind=kind,
            where=Compare("n", ">=", low),  # type: ignore[arg-type]
        )
        scores = {key: self._score(v, query) for key, v in chosen}
        best = sorted(scores.values(), reverse=True)[:k]
        assert np.allclose([h.score for h in hits], best, atol=1e-5)
        assert all(abs(scores[h.item.key] - h.score) < 1e-5 for h in hits)

    @invariant()
    def is_the_dict(self) -> None:
        keys = sorted(self.items)
        assert self.collection.keys() == keys
        assert self.collection.get(keys) == [self.items[k][0] for k in keys]
        rows = VECTORS[[self.items[k][1] for k in keys]].astype(np.float16).reshape(-1, 8)
        assert np.array_equal(self.collection.vectors(keys), rows.astype(np.float32))
        assert {f.key: f.reason for f in self.collection.failures()} == self.failures

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert self.store.verify(full=True) == []
            self.store.close()
            self.folder.cleanup()

    @staticmethod
    def _score(number: int, query: int) -> float:
        row = VECTORS[number].astype(np.float16).astype(np.float32)
        return float(np.clip(row @ VECTORS[query], -1, 1))


FEW = settings(
    max_examples=6, stateful_step_count=20, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_any_short_order_of_operations_leaves_what_the_dict_has() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(CollectionMachine, settings=FEW)


@pytest.mark.slow
def test_any_long_order_of_operations_leaves_what_the_dict_has() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    many = settings(FEW, max_examples=300, stateful_step_count=60)
    run_state_machine_as_test(CollectionMachine, settings=many)
