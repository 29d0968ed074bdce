"""The same picture more than once: the same bytes, the same pixels, or nearly so.

The vectors name candidates, through lists of neighbours (`index_store.pairs`); the pixels of
both pictures decide; what hangs together is one group (union-find).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from index_store import Collection, Item, Where
from index_store.pairs import close_pairs
from index_store.scan import decode
from index_store.segment import Halves
from mmsearch.cores import usable_cores
from mmsearch.errors import BadPicture
from mmsearch.organise.comparing import Numbers, compare
from mmsearch.organise.contents import read_contents
from mmsearch.organise.matching import Thumbnail, likeness, thumbnail
from mmsearch.pipeline import map_ahead
from mmsearch.sources import open_source

Relation = Literal["first", "same file", "same pixels", "near"]

# Between the closest of Flickr8k's distinct test pictures, 0.64, and copies scaled, recoded,
# cropped to 72 % of both sides, mirrored, brightened or in grey, 0.81 and more.
ALIKE = 0.75
# Of pictures whose vectors are not close; copies that move a vector that far (in grey, a quarter
# of the size, JPEG quality 10) are whole ones, 0.93 and more.
ALIKE_WHOLE = 0.9
ALIKE_VECTORS = 0.95  # of a cosine, where the pixels are not asked
# Drawings and product shots that are different pictures are as alike as 0.9 and more: there the
# limit is what but one in 200 of them reaches, up to 0.97 (benchmarks/duplicates.py).
OTHERS, MOST_ALIKE = 0.995, 0.97
NEARER = 4  # of a copy's kind a picture hardly has more: pairs beyond are of different pictures
LOOKED_AT, FEWEST_OTHERS = 1_000, 100  # such pairs
FEW = 60  # pictures; of so few every pair is compared
DRAWN = 20_000  # pairs drawn at random that say how alike unrelated pictures are


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a group, and what it is to the group's first one.

    likeness: of the pixels to those of the first (of the vectors, where pixels are not asked).
    """

    item: Item
    relation: Relation
    likeness: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    """groups: two or more pictures each, the one with the most pixels first; the group with
    the most pictures first. unread: pictures that could not be opened to be compared."""

    groups: tuple[tuple[Member, ...], ...]
    pictures: int
    unread: int


def find_duplicates(
    collection: Collection, *, where: Where | None = None, near: bool = True,
    pixels: bool = True, alike: float | None = None, threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Duplicates:  # fmt: skip
    """Return the groups of pictures that are the same one.

    Args:
        where: only pictures that pass.
        near: also what is not the same file. False: nothing is opened or compared.
        pixels: let the pixels decide. False: the vectors, which cannot tell a copy from
            another picture of the same scene; no file is opened.
        alike: the least likeness, up to 1; default: `ALIKE` or what different pictures of this
            collection hardly reach, of vectors `ALIKE_VECTORS`.
        progress: called with the number of pictures opened so far, and of those to open.

    Raises:
        BadFilter: `where` cannot be understood.
        StoreCorrupt: a row or a vector is not what was written.
    """
    contents = read_contents(collection, "image", where)
    items, groups = contents.items, _Groups(len(contents.items))
    first: dict[str, int] = {}
    for n, item in enumerate(items):
        if item.content:
            groups.join(first.setdefault(item.content, n), n)
    unread = 0
    looks: dict[int, Thumbnail] = {}
    if near:
        alone = np.array([n for n in range(len(items)) if groups.root(n) == n], np.int64)
        rows = contents.rows[alone]
        if pixels:
            threads = threads or usable_cores()
            pairs, crops = _candidates(rows)
            pairs = alone[pairs]
            wanted = np.unique(pairs).tolist()
            looks = dict(_looks(items, wanted, threads, progress))
            unread = len(wanted) - len(looks)
            least = _limit(pairs, crops, looks, threads) if alike is None else alike
            needed = np.where(crops, least, max(least, ALIKE_WHOLE))
            found = compare(looks, pairs, crops, needed, threads=threads)
            for a, b in pairs[found >= needed].tolist():
                groups.join(a, b)
        else:
            pairs, _ = close_pairs(rows, ALIKE_VECTORS if alike is None else alike)
            for a, b in alone[pairs].tolist():
                groups.join(a, b)
    # Of copies of one file a single one was opened.
    seen = {items[n].content: look for n, look in looks.items() if items[n].content}
    looks |= {n: seen[i.content] for n, i in enumerate(items) if i.content in seen}
    members = [_members(items, g, looks, contents.rows) for g in groups.of_several()]
    members.sort(key=lambda g: (-len(g), g[0].item.key))
    return Duplicates(tuple(members), len(items), unread)


class _Groups:
    """Disjoint sets of numbers (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, n: int) -> int:
        parent = self._parent
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        self._parent[max(a, b)] = min(a, b)

    def of_several(self) -> list[list[int]]:
        sets: dict[int, list[int]] = {}
        for n in range(len(self._parent)):
            sets.setdefault(self.root(n), []).append(n)
        return [s for s in sets.values() if len(s) > 1]


def _candidates(rows: Halves) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Return pairs to compare, the closest first, and of which to look for crops.

    What counts as close is taken from this collection: the spread of pairs drawn at random, by
    median and median deviation, which the copies in it do not move. Every model has its own.
    """
    if len(rows) <= FEW:
        pairs, cosines = close_pairs(rows, -1.0, most=FEW)
        return pairs[np.argsort(-cosines, kind="stable")], np.ones(len(pairs), np.bool_)
    a, b = np.random.default_rng(0).integers(0, len(rows), (2, DRAWN))
    drawn = np.vecdot(decode(rows[a[a != b]]), decode(rows[b[a != b]]))
    middle = float(np.median(drawn))
    spread = 1.4826 * float(np.median(np.abs(drawn - middle)))  # as a standard deviation
    pairs, cosines = close_pairs(rows, min(middle + 2.5 * spread, 0.9))
    order = np.argsort(-cosines, kind="stable")
    return pairs[order], cosines[order] >= min(middle + 3.5 * spread, 0.9)


def _looks(
    items: Sequence[Item], wanted: Sequence[int], threads: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[int, Thumbnail]]:  # fmt: skip
    """Yield the thumbnails of those pictures that can be opened."""
    from mmsearch.images import open_picture

    def look(n: int) -> tuple[int, Thumbnail | None]:
        try:
            return n, thumbnail(open_picture(open_source(items[n].uri), target=96).image)
        except (BadPicture, OSError, ValueError):
            return n, None

    opened = map_ahead(look, iter(wanted), threads=threads, ahead=8 * threads)
    try:
        for done, (n, found) in enumerate(opened, start=1):
            if progress:
                progress(done, len(wanted))
            if found is not None:
                yield n, found
    finally:
        opened.close()


def _limit(
    pairs: Numbers, crops: npt.NDArray[np.bool_], looks: dict[int, Thumbnail], threads: int
) -> float:
    """Return the least likeness of copies in this collection.

    Seen from how alike those candidates are that both have several nearer ones.

    Args:
        pairs: the closest first.
    """
    nearer: dict[int, int] = {}
    others = []
    for n, (a, b) in enumerate(pairs.tolist()):
        if min(nearer.get(a, 0), nearer.get(b, 0)) >= NEARER and a in looks and b in looks:
            others.append(n)
        for one in (a, b):
            nearer[one] = nearer.get(one, 0) + 1
    if len(others) < FEWEST_OTHERS:
        return ALIKE
    some = others[:: max(1, len(others) // LOOKED_AT)]
    enough = np.ones(len(some))
    seen = compare(looks, pairs[some], crops[some], enough, threads=threads)
    return float(np.clip(np.quantile(seen, OTHERS), ALIKE, MOST_ALIKE))


def _members(
    items: Sequence[Item], group: Iterable[int], looks: dict[int, Thumbnail], rows: Halves
) -> tuple[Member, ...]:
    """Return the members of a group: the largest first, then by how alike they are to it."""
    first, *others = sorted(group, key=lambda n: (*_quality(items[n]), len(items[n].key), n))
    members = [Member(items[first], "first", 1.0)]
    for n in others:
        mine, its = looks.get(first), looks.get(n)
        if items[n].content and items[n].content == items[first].content:
            members.append(Member(items[n], "same file", 1.0))
        elif mine is None or its is None:
            cosine = float(np.vecdot(*decode(rows[[first, n]])))
            members.append(Member(items[n], "near", min(cosine, 1.0)))
        elif np.array_equal(mine, its) and _same_pixels(items[first], items[n]):
            members.append(Member(items[n], "same pixels", 1.0))
        else:
            members.append(Member(items[n], "near", min(likeness(mine, its), 1.0)))
    order = {"first": 0, "same file": 1, "same pixels": 2, "near": 3}
    return tuple(sorted(members, key=lambda m: (order[m.relation], -m.likeness, m.item.key)))


def _quality(item: Item) -> tuple[float, float]:
    """Return a key by which the better of two copies sorts first: more pixels, more bytes."""
    sides = item.meta.get("width"), item.meta.get("height")
    width, height = (s if isinstance(s, int) else 0 for s in sides)
    size = item.stamp.partition("-")[0]
    return -width * height, -int(size) if size.isdigit() else 0


def _same_pixels(a: Item, b: Item) -> bool:
    from mmsearch.images import open_picture

    try:
        one, other = (open_picture(open_source(item.uri)).image for item in (a, b))
    except (BadPicture, OSError, ValueError):
        return False
    return one.size == other.size and one.tobytes() == other.tobytes()


__all__ = ["ALIKE", "Duplicates", "Member", "find_duplicates"]
