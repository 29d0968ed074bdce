"""A collection's pictures in groups that look alike, each with a name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index_store import Item
from index_store.ann import kmeans
from index_store.scan import decode
from index_store.types import Vectors
from mmsearch.errors import BadQuery
from mmsearch.organise.contents import Contents

MOST = 50  # clusters, if nobody says how many: more are hard to look through
_BLOCK = 8_192


@dataclass(frozen=True, slots=True)
class Cluster:
    """One group. members: numbers into the contents, the most typical first."""

    name: str
    members: npt.NDArray[np.int64]


def clusters(contents: Contents, count: int | None = None, *, seed: int = 0) -> list[Cluster]:
    """Return groups of items by spherical k-means, the largest first, named "1", "2" ...

    Args:
        count: how many; default: the square root of half the items, from 2 to 50.

    Raises:
        BadQuery: fewer items than clusters, or none.
    """
    total = len(contents.items)
    wanted = count or min(max(round(math.sqrt(total / 2)), 2), MOST)
    if total < wanted:
        raise BadQuery(f"{total} pictures cannot be put into {wanted} clusters")
    centres = kmeans(decode(contents.rows), wanted, seed=seed)
    nearest = np.empty(total, np.int64)
    closeness = np.empty(total, np.float32)
    for start in range(0, total, _BLOCK):
        scores = decode(contents.rows[start : start + _BLOCK]) @ centres.T
        nearest[start : start + _BLOCK] = scores.argmax(1)
        closeness[start : start + _BLOCK] = scores.max(1)
    found = []
    for number in range(wanted):
        members = np.flatnonzero(nearest == number)
        if len(members):
            found.append(members[np.argsort(-closeness[members], kind="stable")])
    found.sort(key=lambda m: (-len(m), int(m[0])))
    return [Cluster(str(n), members) for n, members in enumerate(found, start=1)]


def centres_of(contents: Contents, groups: Sequence[Cluster]) -> Vectors:
    """Return the mean directions of groups, (groups, dim) unit rows."""
    means = np.stack([decode(contents.rows[g.members]).mean(0) for g in groups])
    unit: Vectors = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    return unit


def with_cluster(item: Item, name: str) -> Item:
    """Return the item with the cluster's name in its meta."""
    return replace(item, meta={**item.meta, "cluster": name})
