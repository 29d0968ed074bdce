"""Vectors and their metadata on disk: durable, one writer, many readers.

It knows no model, no picture and no network. Start at `Store.open`.
"""

from index_store.collection import Collection
from index_store.errors import StoreError
from index_store.store import Store
from index_store.types import (
    AddReport,
    CompactReport,
    Failure,
    Item,
    Match,
    OptimizeReport,
    Problem,
    Space,
    Stamp,
    Stats,
    Target,
    Trial,
)
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

__all__ = [
    "AddReport",
    "AllOf",
    "AnyOf",
    "Collection",
    "CompactReport",
    "Compare",
    "Contains",
    "Exists",
    "Failure",
    "Glob",
    "Has",
    "In",
    "Item",
    "Match",
    "Near",
    "Not",
    "OptimizeReport",
    "Prefix",
    "Problem",
    "Space",
    "Stamp",
    "Stats",
    "Store",
    "StoreError",
    "Target",
    "Trial",
    "Where",
]
