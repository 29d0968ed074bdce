"""The values that a store takes and gives. Frozen: a value that was handed out never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
Vectors = npt.NDArray[np.float32]  # (n, dim), unit rows
MetaValue = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Space:
    """The space that vectors live in. Equal spaces: their vectors can be compared.

    `name` holds the encoder and the hash of its weights; `metric` is always "cosine"
    today: rows have unit length, and the score is their inner product.
    """

    name: str
    dim: int
    metric: str = "cosine"


@dataclass(frozen=True, slots=True)
class Item:
    """One picture or one text.

    key: unique in its collection. uri: where to find it ("file:///..."), may be empty.
    text: the text itself for kind "text", else empty. stamp: cheap to compute and different
    when the source has changed (size and time of a file). content: hash of the source's
    bytes, equal for a renamed or copied file. meta: flat, JSON values, or lists of texts.
    """

    key: str
    kind: Kind = "image"
    uri: str = ""
    text: str = ""
    stamp: str = ""
    content: str = ""
    meta: Mapping[str, MetaValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """An item and its score: the cosine with the query, higher is better."""

    item: Item
    score: float


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a source has changed since it was stored."""

    stamp: str
    content: str


@dataclass(frozen=True, slots=True)
class AddReport:
    """What one `add` has made durable. seq: the commit's number, growing by one a commit."""

    added: int
    updated: int
    seq: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be stored, with the reason to show to the user."""

    key: str
    uri: str
    reason: str
    stamp: str = ""


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
