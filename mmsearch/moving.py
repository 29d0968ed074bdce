"""A folder of pictures that has moved: new names for what is indexed, nothing embedded again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from index_store import Collection, Failure, Item
from index_store.types import MetaValue
from mmsearch.errors import BadSource
from mmsearch.uris import key_of, uri_of


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What lies below the old folder. example: one old and its new key, if there is any."""

    items: int
    failures: int
    example: tuple[str, str] | None


def move_root(collection: Collection, old: str, new: str, *, dry_run: bool = False) -> MoveReport:
    """Give everything that lies below the folder `old` its place below `new`; return how much.

    One transaction: all of it or nothing. Neither folder is looked at: `old` may be gone, and
    `new` not plugged in yet.

    Args:
        dry_run: change nothing.

    Raises:
        BadSource: the two are the same.
        KeyTaken: something is indexed already under one of the new names.
    """
    move = _Move(old, new)
    items = {i.key: move.item(i) for i in _below(collection, move)}
    failures = {
        f.key: Failure(move.text(f.key), move.text(f.uri), f.reason, f.stamp)
        for f in collection.failures()
        if move.concerns(f.key, f.uri)
    }
    if not dry_run and (items or failures):
        collection.rekey(items, failures)
    pairs = [(k, i.key) for k, i in items.items()] or [(k, f.key) for k, f in failures.items()]
    return MoveReport(len(items), len(failures), pairs[0] if pairs else None)


class _Move:
    """Old names to new ones. Keys are paths or, for odd bytes, URIs; captions add "#..."."""

    def __init__(self, old: str, new: str) -> None:
        self._pairs = []
        for before, after in ((key_of(old), key_of(new)), (uri_of(old), uri_of(new))):
            # The root alone ends with a slash, and file:/// with one of three.
            before, after = before.removesuffix("/"), after.removesuffix("/")
            if before == after:
                raise BadSource(f"the folder is to move from {old} to itself")
            self._pairs.append((before, after))

    def text(self, name: str) -> str:
        """Return the new name, or the same if it isn't below the old folder."""
        for before, after in self._pairs:
            if name == before or name.startswith((f"{before}/", f"{before}#")):
                return after + name[len(before) :]
        return name

    def concerns(self, key: str, uri: str) -> bool:
        return self.text(key) != key or self.text(uri) != uri

    def item(self, item: Item) -> Item:
        """Return the item under its new name; a caption names its picture in its meta."""
        meta: dict[str, MetaValue] = dict(item.meta)
        picture = meta.get("picture")
        if isinstance(picture, str):
            meta["picture"] = self.text(picture)
        return replace(item, key=self.text(item.key), uri=self.text(item.uri), meta=meta)


def _below(collection: Collection, move: _Move) -> Iterator[Item]:
    keys = collection.keys()
    for start in range(0, len(keys), 2_000):
        for item in collection.get(keys[start : start + 2_000]):
            if move.concerns(item.key, item.uri):
                yield item
