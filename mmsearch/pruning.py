"""Items whose files are gone: found, told from those of a drive that is not there, forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from index_store import Collection, Compare, Item, Prefix
from index_store.where import AllOf, AnyOf
from mmsearch.origins import is_away
from mmsearch.uris import path_of, uri_of

_CHUNK = 2_000


def missing(collection: Collection, below: Sequence[str] | None = None) -> Iterator[Item]:
    """Yield the pictures whose file is not there, by key.

    A picture inside another file counts as there while that file is.

    Args:
        below: only files at or below these paths; None is all.
    """
    where = [Compare("kind", "=", "image")]
    if below is not None:
        where.append(AnyOf(*(at_or_below(path) for path in below)))  # type: ignore[arg-type]
    keys = collection.keys(AllOf(*where))
    for start in range(0, len(keys), _CHUNK):
        for item in collection.get(keys[start : start + _CHUNK]):
            if item.uri.startswith("file:") and not os.path.lexists(path_of(item.uri)):
                yield item


def at_or_below(path: str) -> AnyOf:
    """Return the filter of what is in a file or, at any depth, in a folder."""
    uri = uri_of(path).rstrip("/")
    return AnyOf(Compare("uri", "=", uri), Prefix("uri", f"{uri}/"), Prefix("uri", f"{uri}#"))


def forget(collection: Collection, keys: Sequence[str]) -> int:
    """Delete pictures with their captions; return how many pictures there were."""
    known = len(collection.stamps(keys))
    captions = [c for key in keys for c in collection.keys(Prefix("key", f"{key}#caption-"))]
    collection.delete([*keys, *captions])
    return known


@dataclass(frozen=True, slots=True)
class Gone:
    """Pictures whose files are not there: lost, and away with their drive."""

    lost: tuple[Item, ...]
    away: tuple[Item, ...]


def gone(
    collection: Collection, folders: Sequence[str], below: Sequence[str] | None = None
) -> Gone:
    """Return the pictures whose files are not there.

    Args:
        folders: of the collection, as `origins` knows them.
        below: only files at or below these paths; None is all.
    """
    found: dict[bool, list[Item]] = {True: [], False: []}
    verdicts: dict[str, bool] = {}  # by folder: the files of one share theirs
    for item in missing(collection, below):
        path = path_of(item.uri)
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent not in verdicts:
            verdicts[parent] = is_away(path, folders)
        found[verdicts[parent]].append(item)
    return Gone(tuple(found[False]), tuple(found[True]))
