"""What keeps a collection in shape: room given back, new keys, indexes forgotten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from index_store.errors import KeyTaken, StoreReadOnly
from index_store.shelf import INDEXES
from index_store.types import Failure, Item, Kind, Space

if TYPE_CHECKING:
    from index_store.db import ReadPool
    from index_store.lexical import Lexicon, Progress, Words
    from index_store.reports import CompactReport
    from index_store.writer import Writer


class Upkeep:
    """The part of a `Collection` that a user calls now and then."""

    def __init__(
        self, store: Path, id_: int, name: str, space: Space, writer: Writer | None,
        readers: ReadPool,
    ) -> None:  # fmt: skip
        self.name, self.space = name, space
        self._path, self._id, self._writer, self._readers = store, id_, writer, readers

    def lexicon(
        self, words: Callable[[Item], Words], recipe: str, *, progress: Progress | None = None
    ) -> Lexicon:
        """Return the index of the items' words as `words` gives them; another `recipe` (a name
        for what `words` does) builds it anew.

        Args:
            progress: called while a question reads items that are new to the index, with how
                many are read and how many there are.
        """
        from index_store.lexical import Lexicon

        return Lexicon(self._path, self._id, self._readers, words, recipe, progress)

    def rekey(self, items: Mapping[str, Item], failures: Mapping[str, Failure]) -> None:
        """Give items and failures, by their old keys, new keys and values, in one transaction.

        Vectors stay. Unknown old keys are passed over.

        Raises:
            KeyTaken: a new key belongs to an item that is not moved itself. Nothing is changed.
            StoreFull, WriteFailed, StoreReadOnly: nothing is changed.
        """
        new = [item.key for item in items.values()]
        if len(set(new)) < len(new):
            raise KeyTaken(self.name, new)
        self._write().rekey(self._id, self.name, items, failures)

    def drop_index(self, kind: Kind) -> bool:
        """Forget the approximate index, so that searches are exact; was there one?"""
        from index_store.publish import retire

        files = self._write().drop_indexes(self._id, kind)
        for name in files:
            retire(self._path / INDEXES / name)
        return bool(files)

    def compact(
        self, kind: Kind, *, least: float = 0.3, progress: Callable[[int], object] | None = None
    ) -> CompactReport | None:
        """Give back the room of replaced and deleted vectors; None where it does not pay.

        The live ones are copied to new files, every checksum compared on the way; one
        transaction switches, and only then the old files go. Searches go on meanwhile. An
        approximate index goes too: build it again.

        Args:
            least: the part of the slots that must be dead for it to pay.
            progress: called with the number of rows of each block copied.

        Raises:
            StoreCorrupt: a row or a vector is not what was written. Nothing is changed.
            StoreFull, WriteFailed, StoreReadOnly: nothing is changed.
        """
        from index_store.compact import compact

        writer = self._write()
        return compact(writer, self._path, self._id, kind, self.space.dim, least, progress)

    def _write(self) -> Writer:
        if self._writer is None:
            raise StoreReadOnly(self._path, "it was opened for reading")
        return self._writer
