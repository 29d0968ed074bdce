"""The order in which hits are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from mmsearch.types import Hit

Order = Literal["score", "date", "name"]
ORDERS: tuple[Order, ...] = ("score", "date", "name")


def in_order(hits: Sequence[Hit], order: Order) -> list[Hit]:
    """Return the same hits by score as they are, by date (newest first, those without one
    last) or by name (numbers in names by value). Each keeps its rank, which is by score.
    """
    if order == "score":
        return list(hits)
    if order == "name":
        return sorted(hits, key=_name)
    dated = [h for h in hits if h.item.meta.get("taken")]
    newest = sorted(dated, key=lambda h: str(h.item.meta["taken"]), reverse=True)
    return newest + [h for h in hits if not h.item.meta.get("taken")]


def _name(hit: Hit) -> tuple[list[tuple[int, str]], str]:
    name = str(hit.item.meta.get("name") or hit.item.key).casefold()
    parts = re.findall(r"\d+|\D+", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts], hit.item.key
