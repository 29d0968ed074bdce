"""What a store reports of itself and of long work on it. No search needs any of this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_store.types import Item, Kind, Space


@dataclass(frozen=True, slots=True)
class IndexStats:
    """One published approximate index. type: its recipe; candidates: re-scored for a query."""

    kind: Kind
    type: str
    rows: int
    bytes: int
    candidates: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """What an index has to reach.

    recall: recall@10 against exact search. max_latency_ms: the median time of a single query.
    max_ram: bytes that the index (for exact search: the vectors) may take.
    """

    recall: float = 0.95
    max_latency_ms: float | None = None
    max_ram: int | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One index as built and measured with queries that did not tune it.

    recipe: kind, sizes and effort. missed: what of the target it misses; empty if nothing.
    """

    recipe: str
    recall: float
    p50_ms: float
    p99_ms: float
    bytes: int
    build_s: float
    missed: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe, "recall@10": round(self.recall, 4),
            "p50_ms": round(self.p50_ms, 3), "p99_ms": round(self.p99_ms, 3),
            "bytes": self.bytes, "build_s": round(self.build_s, 2), "missed": list(self.missed),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class OptimizeReport:
    """What `Collection.optimize` tried and did.

    asked: where the queries come from: "given", "text" or "image" (stored vectors of that
    kind); the command line also says "log" and "metadata" of texts that it has given. chosen:
    the trial that met the target; None if none did, and then nothing was published.
    """

    kind: Kind
    rows: int
    queries: int
    asked: str
    target: Target
    trials: tuple[Trial, ...]
    chosen: Trial | None
    published: bool

    @property
    def flattering(self) -> bool:
        """Whether it was measured with vectors like the stored ones, which are easy to find."""
        return self.asked == self.kind


@dataclass(frozen=True, slots=True)
class Stats:
    """What a collection holds. bytes: of its vector files and indexes."""

    name: str
    space: Space
    model: str
    images: int
    texts: int
    failures: int
    dead: int
    seq: int
    bytes: int
    indexes: tuple[IndexStats, ...] = ()


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did: rows copied, dead slots left behind, bytes given back."""

    kind: Kind
    rows: int
    dead: int
    freed: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding of `verify`: where, and what is wrong."""

    where: str
    what: str

    def as_dict(self) -> dict[str, Any]:
        return {"where": self.where, "what": self.what}


@dataclass(frozen=True, slots=True)
class Lost:
    """An item that a repair could not keep.

    whole: only its vector is lost, `item` is as it was stored and can be embedded again;
    else its row was damaged, and only key and kind are known, if they are right.
    """

    collection: str
    item: Item
    reason: str
    whole: bool


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found and what it lost. quarantine: where damaged files and rows are."""

    problems: tuple[Problem, ...]
    lost: tuple[Lost, ...]
    quarantine: Path | None
