"""What an evaluation found; and a comparison of two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmsearch.evaluation.direction import Direction, difference_dict
from mmsearch.evaluation.losses import Split
from mmsearch.metrics import Difference
from mmsearch.types import Skipped

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one data set, or one collection on one set of judged queries.

    data: what was evaluated, for people and JSON. directions: by name ("text_to_image").
    losses: the stages of each direction. encode_ms: (p50, p99) milliseconds to encode one
    query, by kind. skipped: left out, with reasons. notes: what a reader must know.
    """

    data: Mapping[str, Any]
    model: str
    space: str
    directions: Mapping[str, Direction]
    losses: Mapping[str, Split] = field(default_factory=dict)
    encode_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values (schema 1)."""
        return {
            "schema": SCHEMA,
            "data": dict(self.data),
            "model": self.model,
            "space": self.space,
            **{name: found.as_dict() for name, found in self.directions.items()},
            "loss": {name: split.as_dict() for name, split in self.losses.items()},
            "encode_ms": {
                kind: {"p50": round(p50, 3), "p99": round(p99, 3)}
                for kind, (p50, p99) in self.encode_ms.items()
            },
            "skipped": skipped_dicts(self.skipped),
            "notes": [*self.notes, *tie_notes(self.directions)],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models over the same queries. differences: B minus A, by direction and figure."""

    a: Evaluation
    b: Evaluation
    differences: Mapping[str, Mapping[str, Difference]]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values (schema 1)."""
        sides = {
            side: {
                "model": found.model,
                "space": found.space,
                **{name: d.as_dict() for name, d in found.directions.items()},
            }
            for side, found in (("a", self.a), ("b", self.b))
        }
        return {
            "schema": SCHEMA,
            "data": dict(self.a.data),
            **sides,
            "difference": {n: difference_dict(dict(d)) for n, d in self.differences.items()},
            "skipped": skipped_dicts(self.a.skipped),
            "notes": [*self.a.notes, *tie_notes(self.a.directions), *tie_notes(self.b.directions)],
        }


def skipped_dicts(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    return [{"key": s.key, "reason": s.reason} for s in skipped]


def tie_notes(directions: Mapping[str, Direction]) -> list[str]:
    """Return a warning for each direction and k where ties decide over hits."""
    return [
        f"{name}: {count} of {len(found.ranking)} queries hit or miss at rank {k} only by the way "
        "that equal scores are broken; they count as misses, but a search breaks them somehow and "
        "may hit: less than nothing is lost then"
        for name, found in directions.items()
        for k, count in found.ties.items()
        if count
    ]


__all__ = ["Comparison", "Evaluation", "skipped_dicts", "tie_notes"]
