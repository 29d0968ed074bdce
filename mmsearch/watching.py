"""What changes in folders, gathered into batches of folders to look at again.

An event only says where to look: what is there is read from the disk, as in any other run. So
events that come twice, late or in the wrong order do no harm.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.origins import is_below
from mmsearch.readers.containers import kind_of
from mmsearch.readers.folder import TABLES
from mmsearch.readers.formats import REFUSED, is_junk, is_picture, suffix_of
from mmsearch.readers.ignore import IGNORE_FILE

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

SETTLE = 1.0  # seconds without a change before a file counts as written
PATIENCE = 30.0  # then folders that are still go ahead of those that are written to
LONGEST = 600.0  # then a file that never stands still is read as it is
EVERY = 600.0  # seconds between looks at everything
BURST = 5_000  # paths; beyond, the system may have dropped events: everything is looked at
_TICK = 0.2
_ROOTS = 2.0  # seconds between looks at whether the roots are there


@dataclass(frozen=True, slots=True)
class Batch:
    """What to look at again.

    folders: (root, folder), each to be read with all that is below it; none is below another.
    gone: paths that were deleted, or moved away, and not just unmounted.
    """

    folders: tuple[tuple[str, str], ...]
    gone: tuple[str, ...] = ()


@dataclass(slots=True)
class _Touch:
    """A path that changed.

    since: its last change; first: the first that was not handled yet. again: to be looked at
    twice, since a new folder may have been filled before the system was told to watch it.
    """

    root: str
    folder: str
    signature: tuple[int, ...]
    since: float
    first: float
    again: bool = False


class Changes:
    """Events in, batches out. Safe to use from threads."""

    def __init__(
        self, roots: Sequence[str], *, settle: float = SETTLE, patience: float = PATIENCE,
        longest: float = LONGEST, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._roots = [r.rstrip(os.sep) or os.sep for r in roots]
        self._settle, self._patience, self._longest = settle, patience, longest
        self._clock = clock
        self._touched: dict[str, _Touch] = {}
        self._gone: set[str] = set()
        self._last = 0.0
        self._lock = threading.Lock()

    def add(self, path: str, *, folder: bool, gone: bool = False) -> None:
        """Remember that something happened to a file or folder."""
        root = next((r for r in self._roots if is_below(path, r)), None)
        if root is None or not _matters(path[len(root) :], folder, gone):
            return
        with self._lock:
            if gone and path != root:
                self._gone.add(path)
            burst = len(self._touched) >= BURST
            self._touch(root, root if burst else path, folder or burst, again=folder and not gone)

    def look_at(self, root: str) -> None:
        """Have a whole root looked at."""
        with self._lock:
            self._touch(root, root, True)

    def put_back(self, batch: Batch) -> None:
        """Have a batch that could not be handled come again."""
        with self._lock:
            self._gone.update(batch.gone)
            for root, folder in batch.folders:
                self._touch(root, folder, True)

    def take(self) -> Batch | None:
        """Return what has settled, or None if there is nothing or it is still being changed."""
        with self._lock:
            now = self._clock()
            if not self._touched:
                return None
            waited = now - min(t.first for t in self._touched.values())
            if now - self._last < self._settle and waited < self._patience:
                return None
            moving = self._moving(now)
            if moving and waited < self._patience:
                return None
            still = {
                path: t for path, t in self._touched.items()
                if not any(is_below(m, t.folder) for m in moving)
            }  # fmt: skip
            if not still:
                return None
            self._touched = {p: t for p, t in self._touched.items() if p not in still}
            for path, touch in still.items():
                if touch.again:
                    self._touch(touch.root, path, True)
            folders = _topmost({(t.root, t.folder) for t in still.values()})
            gone = {g for g in self._gone if any(is_below(g, f) for _, f in folders)}
            self._gone -= gone
            return Batch(folders, tuple(sorted(gone)))

    def _touch(self, root: str, path: str, folder: bool, *, again: bool = False) -> None:
        now = self._last = self._clock()
        known = self._touched.get(path)
        first = known.first if known else now
        # A folder's own size and time change with what is in it: it has no signature.
        signature = () if folder else _signature(path)
        where = path if folder else os.path.dirname(path)  # noqa: PTH120
        self._touched[path] = _Touch(root, where, signature, now, first, again)

    def _moving(self, now: float) -> set[str]:
        """Return the folders of files that are being written, as far as one can tell."""
        moving = set()
        for path, touch in self._touched.items():
            if touch.signature and (signature := _signature(path)) != touch.signature:
                touch.signature, touch.since = signature, now
            if now - touch.since < self._settle and now - touch.first < self._longest:
                moving.add(touch.folder)
        return moving


class Watcher:
    """Folders under watch; a context manager.

    Args:
        roots: real paths of folders.
        settle: seconds without a change before something counts as written.
        every: seconds between looks at everything, whatever the events say: network drives
            send none.
        say: told, in a line, what the user should know.
    """

    def __init__(
        self, roots: Sequence[str], *, settle: float = SETTLE, every: float = EVERY,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:  # fmt: skip
        from watchdog.observers import Observer

        self.changes = Changes(roots, settle=settle)
        self._every, self._say = every, say
        self._observer: Any = Observer()
        self._roots: dict[str, tuple[int, int] | None] = dict.fromkeys(roots)
        self._watches: dict[str, Any] = {}

    def __enter__(self) -> Watcher:
        self._observer.start()
        self._check_roots(first=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.stop()
        self._observer.join(5)

    def batches(self) -> Iterator[Batch]:
        """Yield what is to be looked at, for ever; the roots as a whole to begin with."""
        everything = checked = time.monotonic()
        while True:
            now = time.monotonic()
            if now - everything >= self._every:
                everything = now
                for root in self._roots:
                    self.changes.look_at(root)
            if now - checked >= _ROOTS:
                checked = now
                self._check_roots()
            batch = self.changes.take()
            folders = tuple(f for f in batch.folders if self._roots[f[0]]) if batch else ()
            if batch and folders:
                yield Batch(folders, batch.gone)
            else:
                time.sleep(_TICK)

    def _check_roots(self, *, first: bool = False) -> None:
        """Follow roots that go and come: drives, and folders that are made anew."""
        for root, before in self._roots.items():
            now = _identity(root)
            if now == before and not first:
                continue
            self._roots[root] = now
            if watch := self._watches.pop(root, None):
                with contextlib.suppress(KeyError):  # it has ended itself with its folder
                    self._observer.unschedule(watch)
            if now is None:
                self._say(f"{root} is offline; what is indexed of it is kept")
                continue
            if not first:
                self._say(f"{root} is back")
            self._schedule(root)
            self.changes.look_at(root)

    def _schedule(self, root: str) -> None:
        try:
            self._watches[root] = self._observer.schedule(
                _handler(self.changes), root, recursive=True
            )
        except OSError as error:  # Linux allows so many watches a user
            self._say(
                f"{root}: the system sends no events ({error.strerror or error}); it is looked at "
                f"every {self._every:g} seconds (--every)"
            )


def _handler(changes: Changes) -> Any:
    """Return what watchdog calls. (Made here: watchdog is imported when it is used.)"""
    from watchdog.events import FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            kind = event.event_type
            # Reading makes events too, and a folder's own are those of what is in it.
            if kind in {"opened", "closed_no_write"} or (event.is_directory and kind == "modified"):
                return
            gone = kind in {"deleted", "moved"}
            changes.add(os.fsdecode(event.src_path), folder=event.is_directory, gone=gone)
            if kind == "moved":
                changes.add(os.fsdecode(event.dest_path), folder=event.is_directory)

    return Handler()


def _matters(below: str, folder: bool, gone: bool) -> bool:
    """Return whether something at this place below its root can change what is indexed."""
    parts = Path(below.strip(os.sep)).parts
    if any(is_junk(part) for part in (parts if folder else parts[:-1])):
        return False
    name = parts[-1] if parts else ""
    # Windows calls a folder that is deleted a file.
    if folder or gone or name in TABLES or name == IGNORE_FILE:
        return True
    suffix = suffix_of(name)
    return (
        suffix in {".txt", ".xmp"} or suffix in REFUSED or is_picture(name) or bool(kind_of(name))
    )


def _topmost(places: set[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    chosen: list[tuple[str, str]] = []
    for root, folder in sorted(places, key=lambda place: place[1]):
        if not any(is_below(folder, top) for _, top in chosen):
            chosen.append((root, folder))
    return tuple(chosen)


def _signature(path: str) -> tuple[int, ...]:
    try:
        stat = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return (-1,)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _identity(root: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(root)  # noqa: PTH116
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino) if os.path.isdir(root) else None  # noqa: PTH112
