"""Vectors and their metadata on disk: durable, one writer, many readers.

It knows no model, no picture and no network. Start at `Store.open`. Names are imported when they
are first used: a search needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index_store.collection import Collection
    from index_store.errors import StoreError
    from index_store.reports import (
        CompactReport,
        OptimizeReport,
        Problem,
        Stats,
        Target,
        Trial,
    )
    from index_store.store import Store
    from index_store.types import AddReport, Failure, Item, Match, Space, Stamp
    from index_store.where import (
        AllOf,
        AnyOf,
        Compare,
        Contains,
        Exists,
        Glob,
        Has,
        In,
        Near,
        Not,
        Prefix,
        Where,
    )

_NAMES = {
    "collection": ("Collection",),
    "errors": ("StoreError",),
    "reports": ("CompactReport", "OptimizeReport", "Problem", "Stats", "Target", "Trial"),
    "store": ("Store",),
    "types": ("AddReport", "Failure", "Item", "Match", "Space", "Stamp"),
    "where": (
        "AllOf", "AnyOf", "Compare", "Contains", "Exists", "Glob", "Has", "In", "Near", "Not",
        "Prefix", "Where",
    ),
}  # fmt: skip
_HOMES = {name: f"index_store.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'index_store' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = [
    "AddReport", "AllOf", "AnyOf", "Collection", "CompactReport", "Compare", "Contains", "Exists",
    "Failure", "Glob", "Has", "In", "Item", "Match", "Near", "Not", "OptimizeReport", "Prefix",
    "Problem", "Space", "Stamp", "Stats", "Store", "StoreError", "Target", "Trial", "Where",
]  # fmt: skip
