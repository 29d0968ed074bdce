"""What can go wrong in a store. Every message is fit to show to a user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from index_store.types import Space


class StoreError(Exception):
    """Base of everything this package raises on purpose."""


class StoreNotFound(StoreError):
    """There is no store in the folder that was named."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"no index in {path}; make one with: mmsearch index FOLDER")
        self.path = path


class RestoreCutShort(StoreNotFound):
    """A restore was killed after it had moved the old store aside, before the new one came."""

    def __init__(self, path: Path, aside: Path) -> None:
        StoreError.__init__(
            self,
            f"a restore of {path} was cut short; run it again (mmsearch restore SRC --store "
            f"{path}), or move the store that was there back from {aside}",
        )
        self.path, self.aside = path, aside


class CollectionNotFound(StoreError):
    """The store has no collection of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        there = ", ".join(repr(k) for k in known) or "none"
        super().__init__(f"no collection {name!r} in this store; it has: {there}")
        self.name, self.known = name, known


class CollectionExists(StoreError):
    """A collection of that name is there already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} exists already")
        self.name = name


class StoreLocked(StoreError):
    """Another process writes to this store. Reading stays possible."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"another process is writing to {path}; wait for it to end (searching works meanwhile)"
        )
        self.path = path


class StoreReadOnly(StoreError):
    """A write was asked of a store that cannot be written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write to {path}: {reason}")
        self.path = path


class StoreTooNew(StoreError):
    """A newer version wrote this store; reading it could misread it."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"the index in {path} has format {found}, this version knows up to {known}; "
            "update mmsearch (nothing was changed)"
        )
        self.path, self.found, self.known = path, found, known


class TargetExists(StoreError):
    """There is something where a copy was to be written."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is there already and not empty; name a new folder")
        self.path = path


class StoreCorrupt(StoreError):
    """What is on disk contradicts what was committed."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"the index is damaged: {path}: {what}; see: mmsearch verify")
        self.path, self.what = path, what


class StoreFull(StoreError):
    """The disk has no room; the write was rolled back, everything acknowledged is kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no space left on the disk of {path}; what was acknowledged is safe: "
            "make room and run the command again"
        )
        self.path = path


class WriteFailed(StoreError):
    """The disk reported an error while writing. The store takes no more writes until reopened."""

    def __init__(self, path: Path, cause: BaseException) -> None:
        super().__init__(
            f"writing to {path} failed ({cause}); what was acknowledged is safe: "
            "check the disk, then run the command again"
        )
        self.path = path


class SpaceMismatch(StoreError):
    """Vectors of one encoder were offered to a collection of another."""

    def __init__(self, collection: str, holds: Space, got: Space) -> None:
        super().__init__(
            f"collection {collection!r} holds {holds.name} ({holds.dim}-d) but was given "
            f"{got.name} ({got.dim}-d); search it with that encoder, embed it anew "
            "(mmsearch reindex), or index into a new collection"
        )
        self.collection, self.holds, self.got = collection, holds, got


class KeyTaken(StoreError):
    """Items were to be given keys that other items have."""

    def __init__(self, collection: str, keys: list[str]) -> None:
        super().__init__(
            f"collection {collection!r} has {len(keys):,} of the new names already, as "
            f"{keys[0]!r}; nothing was changed"
        )
        self.collection, self.keys = collection, keys


class NoGpu(StoreError):
    """An index that only a GPU can build, and faiss has none."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"an index of kind {kind} is built on a GPU, and faiss finds none; on a machine with "
            "CUDA: pip uninstall -y faiss-cpu; pip install faiss-gpu-cuvs"
        )
        self.kind = kind


class FaissTwice(StoreError):
    """The module `faiss` is of two distributions, whose files overwrite one another."""

    def __init__(self, names: list[str], repair: str) -> None:
        super().__init__(
            f"{' and '.join(names)} are installed together, and both bring the module faiss: "
            f"{repair}"
        )
        self.names = names


class BadVectors(StoreError):
    """Vectors of the wrong shape, or with a NaN or infinity in them."""


class BadFilter(StoreError):
    """A filter that cannot be understood. `column` is the 0-based place in its text, if known."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column
