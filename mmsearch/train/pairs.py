"""Pictures with captions, from any reader, and how they are divided into training and held-out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsearch.errors import BadSource, NoSplits
from mmsearch.readers import read
from mmsearch.sources import place_of
from mmsearch.types import Sample, Skipped

Ids = npt.NDArray[np.int64]
FEWEST = 8  # pairs to train on, pictures to measure on: below that nothing can be learnt or said


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture and all that is said of it.

    path: or the URI of a part of a file. group: pictures of one group are one thing.
    """

    key: str
    path: str
    captions: tuple[str, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Pairs:
    """n pictures with their captions.

    groups: (n,) a number for each distinct group. captions: a number for each distinct text,
    compared without case and outer space. skipped: what the source held and could not be used.
    sources: (n,) the number of each picture's source, where several were joined.
    """

    rows: tuple[Pair, ...]
    groups: Ids
    caption_ids: tuple[Ids, ...]
    skipped: tuple[Skipped, ...] = ()
    sources: Ids | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> list[str]:
        """All captions, picture by picture."""
        return [caption for row in self.rows for caption in row.captions]

    @property
    def owner(self) -> Ids:
        """For each of `texts`, the row of its picture."""
        return np.repeat(np.arange(len(self.rows)), [len(row.captions) for row in self.rows])

    def fingerprint(self) -> str:
        """Return 16 hex digits that differ when a key, a caption or a group does."""
        rows = [(row.key, row.captions, row.group) for row in self.rows]
        return hashlib.blake2b(json.dumps(rows).encode(), digest_size=8).hexdigest()

    def limited(self, n: int, seed: int) -> Pairs:
        """Return n pictures chosen by the seed, in their order; all if n is 0 or too large."""
        if not n or n >= len(self):
            return self
        chosen = sorted(np.random.default_rng(seed).choice(len(self), n, replace=False))
        return make_pairs([self.rows[i] for i in chosen], self.skipped)


def make_pairs(rows: Iterable[Pair], skipped: Iterable[Skipped] = ()) -> Pairs:
    """Return the pairs with their groups and captions numbered."""
    rows = tuple(rows)
    groups: dict[str, int] = {}
    texts: dict[str, int] = {}
    ids = tuple(
        np.array([texts.setdefault(c.strip().casefold(), len(texts)) for c in row.captions])
        for row in rows
    )
    numbers = np.array([groups.setdefault(row.group, len(groups)) for row in rows], np.int64)
    return Pairs(rows, numbers, ids, tuple(skipped))


def read_pairs(source: str, *, split: str | None = None, group_by: str | None = None) -> Pairs:
    """Return the pictures of a source that have captions.

    Args:
        source: as for `mmsearch index`: a table, a data set, a folder with caption files.
        split: as for `mmsearch index`.
        group_by: a metadata field; pictures of one value are one thing to be found.

    Raises:
        BadSource: it cannot be read, has no such split, or fewer than FEWEST such pictures.
    """
    rows, skipped, bare = [], [], 0
    for found in read(source, split=split):
        if isinstance(found, Skipped):
            skipped.append(found)
        elif found.captions and found.item.kind == "image":
            rows.append(_pair(found, group_by))
        else:
            bare += 1
    if len(rows) < FEWEST:
        raise BadSource(
            f"{source}{f' (split {split})' if split else ''} has {len(rows)} pictures with "
            f"captions, training needs {FEWEST} at least ({bare} without captions, "
            f"{len(skipped)} that cannot be read)"
        )
    return make_pairs(rows, skipped)


def _pair(sample: Sample, group_by: str | None) -> Pair:
    item = sample.item
    group = item.meta.get(group_by) if group_by else None
    return Pair(
        item.key, place_of(sample), sample.captions, item.key if group is None else f"={group}"
    )


def train_and_heldout(
    sources: Sequence[str],
    *,
    split: str = "train",
    val_split: str = "val",
    group_by: str | None = None,
    share: float,
    seed: int,
) -> tuple[Pairs, Pairs]:
    """Return what to train on and what to measure on, of all sources together.

    A source's own splits, where it has them; else a share of its groups chosen by the seed. A
    picture's captions, and the pictures of a group, are never divided.

    Raises:
        BadSource: a source cannot be read, has other splits alone, or one of the two has too few
            pictures.
    """
    parts = [
        _of_one(source, split, val_split, group_by, share=share, seed=seed) for source in sources
    ]
    train, heldout = zip(*parts, strict=True)
    return joined(train), joined(heldout)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Return the pictures of several sources, one after the other."""
    if len(parts) == 1:
        return parts[0]
    whole = make_pairs(
        [row for part in parts for row in part.rows], [s for part in parts for s in part.skipped]
    )
    sizes = [len(part) for part in parts]
    return replace(whole, sources=np.repeat(np.arange(len(parts)), sizes))


def _of_one(
    source: str, split: str, val_split: str, group_by: str | None, *, share: float, seed: int
) -> tuple[Pairs, Pairs]:
    if Path(source).is_file():
        try:
            train = read_pairs(source, split=split, group_by=group_by)
        except NoSplits:
            pass  # it is divided; one that has other splits was meant otherwise
        else:
            return train, read_pairs(source, split=val_split, group_by=group_by)
    return divide(read_pairs(source, group_by=group_by), share=share, seed=seed)


def divide(pairs: Pairs, *, share: float, seed: int) -> tuple[Pairs, Pairs]:
    """Return two parts, by group and by the seed; the second has at least FEWEST pictures.

    Raises:
        BadSource: there are too few for two parts.
    """
    wanted = max(FEWEST, round(share * len(pairs)))
    order = np.random.default_rng(seed).permutation(int(pairs.groups.max()) + 1)
    counts = np.bincount(pairs.groups)
    needed = int(np.searchsorted(np.cumsum(counts[order]), wanted)) + 1
    heldout = np.isin(pairs.groups, order[:needed])
    if (~heldout).sum() < FEWEST:
        raise BadSource(
            f"{len(pairs)} pictures with captions are too few: {FEWEST} are needed to train on and "
            f"{FEWEST} more to measure on"
        )
    return _chosen(pairs, ~heldout), _chosen(pairs, heldout)


def _chosen(pairs: Pairs, keep: npt.NDArray[np.bool_]) -> Pairs:
    rows: Sequence[Pair] = [row for row, kept in zip(pairs.rows, keep, strict=True) if kept]
    return make_pairs(rows, pairs.skipped)
