"""A named set of items with their vectors, all of one space."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index_store import hits, rows
from index_store.db import ReadPool, on_the_newest
from index_store.errors import BadVectors, CollectionNotFound, SpaceMismatch
from index_store.masks import Masks, live_rows
from index_store.scan import Scan
from index_store.shelf import Shelf, load_shelf
from index_store.types import KINDS, AddReport, Failure, Item, Kind, Match, Space, Stamp, Vectors
from index_store.upkeep import Upkeep

if TYPE_CHECKING:
    from index_store.optimizing import Bench
    from index_store.reports import OptimizeReport, Stats, Target
    from index_store.where import Where
    from index_store.writer import Writer


class Collection(Upkeep):
    """Made by `Store.create_collection` and `Store.collection`. Safe to search from threads."""

    def __init__(
        self, store: Path, id_: int, name: str, space: Space, model: str,
        *, readers: ReadPool, writer: Writer | None,
    ) -> None:  # fmt: skip
        super().__init__(store, id_, name, space, writer, readers)
        self.model = model
        self._shelves: dict[Kind, Shelf] = {}
        self._masks = Masks()
        self._scan: Scan | None = None
        self._lock = threading.Lock()

    # -- writing -----------------------------------------------------------------------

    def add(
        self, items: Sequence[Item], vectors: Vectors, *, space: Space | None = None
    ) -> AddReport:
        """Insert or replace items by key, all of them or none; durable when this returns.

        Of two items with the same key in one call the later one stays.

        Args:
            vectors: (len(items), dim) unit rows.
            space: where the vectors come from; checked against the collection's.

        Raises:
            SpaceMismatch: another space.
            BadVectors: the shape differs, a NaN, or a row that has not length 1.
            StoreFull, WriteFailed, StoreReadOnly: nothing of this call was stored.
        """
        self.check_space(space or self.space)
        vectors = self._shaped(vectors)
        if not items:
            return AddReport(0, 0, self.seq())
        return self._write().add(self._id, items, vectors)

    def update(self, items: Sequence[Item]) -> int:
        """Replace all but the vectors of the items that are there; return how many were."""
        return self._write().update(self._id, items) if items else 0

    def delete(self, keys: Sequence[str]) -> int:
        """Delete items (and remembered failures) by key; return how many items there were."""
        return self._write().delete(self._id, keys) if keys else 0

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """Remember sources that could not be stored, until they are stored or cleared."""
        if failures:
            self._write().add_failures(self._id, failures)

    def clear_failures(self, keys: Sequence[str]) -> None:
        if keys:
            self._write().clear_failures(self._id, keys)

    def build_index(self, kind: Kind, *, threshold: int | None = None) -> bool:
        """Build and publish an approximate index if it pays; return whether one was built.

        It pays from `threshold` rows on (default 200,000, and then only where `optimize` was not
        asked for exact search by name), when there is none yet or a fifth of the rows are newer
        than the last one. Its kind is chosen anew for that many rows and
        for the recall and memory that `optimize` was asked for last (default: recall@10 0.95),
        and measured as `optimize` does, which tries more of them. Searches and writes go on
        meanwhile.
        """
        from index_store.optimizing import optimize
        from index_store.publish import pays, stays_exact
        from index_store.recipe import EXACT_ROWS
        from index_store.reports import Target

        with self._readers.snapshot() as connection:
            shelf = self._shelf(connection, kind)
            exact = stays_exact(connection, self._id, kind)
        if exact and threshold is None:
            return False
        if not pays(shelf, EXACT_ROWS if threshold is None else threshold):
            return False
        known = shelf.index_file.recipe if shelf.index_file else None
        # How fast it is depends on what else this machine does now: for `optimize` alone.
        target = replace(known.target if known else Target(), max_latency_ms=None)
        self._write()
        return optimize(self._bench(kind), target, None, (), exact=False, thorough=False).published

    def optimize(
        self, kind: Kind = "image", *, target: Target | None = None,
        queries: Vectors | None = None, indexes: Sequence[str] = (), dry_run: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> OptimizeReport:  # fmt: skip
        """Build and measure indexes, publish the one that meets the target; return all figures.

        Half of the queries tune the effort, the other half judge. Nothing is published if
        nothing meets the target. Searches and writes go on meanwhile.

        Args:
            target: default: recall@10 of 0.95.
            queries: (q, dim) unit rows of the sort that will be asked. Default: stored vectors
                of the other kind (captions, for pictures), else of the same kind, which
                flatter: see `OptimizeReport.flattering`.
            indexes: kinds to try (`recipe.INDEX_KINDS`). Default: chosen by the number of rows
                and the memory allowed. The fastest that meets the target is taken.
            dry_run: measure, publish nothing.
            progress: told what is being done.

        Raises:
            BadVectors: fewer than 20 queries, or of the wrong shape.
            ValueError: a kind that does not exist.
            StoreFull, WriteFailed, StoreReadOnly: the index could not be written.
        """
        if not dry_run:
            self._write()
        from index_store.optimizing import optimize
        from index_store.reports import Target

        vectors = None if queries is None else self._shaped(queries)
        return optimize(
            self._bench(kind), target or Target(), vectors, indexes,
            publish=not dry_run, progress=progress,
        )  # fmt: skip

    # -- reading -----------------------------------------------------------------------

    def get(self, keys: Iterable[str]) -> list[Item]:
        """Return the items of those keys that are there, in the order of `keys`."""
        keys = list(keys)
        with self._readers.snapshot() as connection:
            found = rows.fetch(connection, self._id, "key", keys)
            items = {row[0]: rows.to_item(row, self._path) for row in found}
        return [items[k] for k in keys if k in items]

    def stamps(self, keys: Iterable[str]) -> dict[str, Stamp]:
        """Return stamp and content hash of those keys that are there."""
        with self._readers.snapshot() as connection:
            found = rows.fetch(connection, self._id, "key", keys, columns="key, stamp, content")
            return {key: Stamp(stamp, content) for key, stamp, content in found}

    def keys_by_content(self, contents: Iterable[str]) -> dict[str, str]:
        """Return, for each content hash that is stored, the key of one item that has it."""
        with self._readers.snapshot() as connection:
            found = rows.fetch(connection, self._id, "content", contents, columns="content, key")
            return dict(found)

    def keys(self, where: Where | None = None) -> list[str]:
        """Return the keys of all items that pass, sorted."""
        condition, values = _condition(where)
        with self._readers.snapshot() as connection:
            sql = f"SELECT key FROM item WHERE collection_id = ? AND {condition} ORDER BY key"
            return [key for (key,) in connection.execute(sql, [self._id, *values])]

    @on_the_newest
    def vectors(self, keys: Sequence[str]) -> Vectors:
        """Return the stored vectors, (len(keys), dim), in the order of `keys`.

        Raises:
            KeyError: one of the keys is not there.
            StoreCorrupt: a vector is not the one that was written.
        """
        with self._readers.snapshot() as connection:
            columns = "key, kind, pos, vector_crc"
            found = {
                r[0]: r[1:] for r in rows.fetch(connection, self._id, "key", keys, columns=columns)
            }
            shelves = {
                kind: self._shelf(connection, kind) for kind in {f[0] for f in found.values()}
            }
            out = np.empty((len(keys), self.space.dim), np.float32)
            for n, key in enumerate(keys):
                kind, pos, crc = found[key]
                out[n] = shelves[kind].row(pos, crc)
        return out

    @on_the_newest
    def sample(self, kind: Kind, n: int) -> Vectors:
        """Return (up to n, dim) vectors, evenly spread by age; unchecked, deleted ones too."""
        with self._readers.snapshot() as connection:
            return self._shelf(connection, kind).sample(n, self.space.dim)

    def count(self, kind: Kind | None = None, where: Where | None = None) -> int:
        """Return the number of items of that kind that pass."""
        condition, values = _condition(where)
        if kind:
            condition, values = f"kind = ? AND {condition}", [kind, *values]
        with self._readers.snapshot() as connection:
            sql = f"SELECT count(*) FROM item WHERE collection_id = ? AND {condition}"
            return int(connection.execute(sql, [self._id, *values]).fetchone()[0])

    def seq(self) -> int:
        """Return the number of the last commit."""
        with self._readers.snapshot() as connection:
            return self._seq(connection)

    def failures(self) -> list[Failure]:
        """Return the remembered failures, sorted by key."""
        with self._readers.snapshot() as connection:
            sql = "SELECT key, uri, reason, stamp FROM failure WHERE collection_id = ? ORDER BY key"
            return [Failure(*row) for row in connection.execute(sql, [self._id])]

    @on_the_newest
    def stats(self) -> Stats:
        """Return what the collection holds."""
        from index_store.reports import IndexStats, Stats

        with self._readers.snapshot() as connection:
            counts = dict(
                connection.execute(
                    "SELECT kind, count(*) FROM item WHERE collection_id = ? GROUP BY kind",
                    [self._id],
                )
            )
            failures = connection.execute(
                "SELECT count(*) FROM failure WHERE collection_id = ?", [self._id]
            ).fetchone()[0]
            shelves = {kind: self._shelf(connection, kind) for kind in KINDS}
            seq = self._seq(connection)
        files = {k: s.index_file for k, s in shelves.items() if s.index_file}
        segments = [s for shelf in shelves.values() for s in shelf.segments]
        live = sum(counts.values())
        return Stats(
            self.name, self.space, self.model, counts.get("image", 0), counts.get("text", 0),
            failures, sum(s.slots for s in segments) - live, seq,
            sum(s.committed_bytes() for s in segments) + sum(f.size for f in files.values()),
            tuple(
                IndexStats(k, f.type, f.upto - f.base, f.size, f.recipe.candidates)
                for k, f in files.items() if f.recipe
            ),
        )  # fmt: skip

    @on_the_newest
    def search(
        self, vectors: Vectors, k: int, *,
        kind: Kind = "image", where: Where | None = None, effort: int | None = None,
    ) -> list[list[Match]]:  # fmt: skip
        """Return, for each query, up to k items, best first; equal scores by age.

        Fewer than k only if fewer items pass. Every hit is checked against the database and
        the checksums of its row and vector.

        Args:
            vectors: (q, dim) unit rows.
            effort: candidates that an approximate index may name for each query; more is
                slower and finds more. No index: no effect.

        Raises:
            BadVectors: the wrong dimension, or NaN.
            BadFilter: `where` cannot be understood.
            StoreCorrupt: a hit is not what was written.
        """
        vectors = self._shaped(vectors)
        if k < 1 or not len(vectors):
            return [[] for _ in vectors]
        with self._readers.snapshot() as connection:
            shelf = self._shelf(connection, kind, searching=self._scan is None)
            allowed = None
            if where is not None:
                allowed = self._masks.passing(
                    connection, self._id, kind, where, seq=shelf.seq, end=shelf.end
                )
            found, live = hits.best(
                connection, self._id, kind, shelf, vectors, k, allowed, effort, self._scan
            )
            return [hits.matches(self._path, shelf, live, f, k) for f in found]

    def scan_with(self, scan: Scan | None) -> None:
        """Let searches be done by a function that looks at every vector as `scan.scan` does, on
        another device say, and not by the index; None: as usual again."""
        self._scan = scan

    def check_space(self, space: Space) -> None:
        """Raise SpaceMismatch unless `space` is this collection's."""
        if space != self.space:
            raise SpaceMismatch(self.name, self.space, space)

    # -- helpers -----------------------------------------------------------------------

    def _shaped(self, vectors: Vectors) -> Vectors:
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.space.dim:
            raise BadVectors(
                f"collection {self.name!r} takes vectors of shape (n, {self.space.dim}), "
                f"not {vectors.shape}"
            )
        # Their product with themselves is quicker to look at, and infinite for a few finite ones.
        if not np.isfinite(np.vdot(vectors, vectors)) and not np.all(np.isfinite(vectors)):
            raise BadVectors("the vectors hold a NaN or an infinity")
        return vectors

    def _seq(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT seq FROM collection WHERE id = ?", [self._id]).fetchone()
        if row is None:  # deleted or replaced since it was opened
            known = connection.execute("SELECT name FROM collection ORDER BY name")
            raise CollectionNotFound(self.name, [name for (name,) in known])
        return int(row[0])

    def _shelf(
        self, connection: sqlite3.Connection, kind: Kind, *, searching: bool = False
    ) -> Shelf:
        """Return the shelf as this snapshot sees it, from the cache if nothing was committed."""
        seq = self._seq(connection)
        shelf = self._shelves.get(kind)
        if shelf is None or shelf.seq != seq:
            shelf = load_shelf(
                connection, self._id, kind, self.space.dim, self._path, seq=seq, older=shelf
            )
        elif searching and shelf.index is None:
            shelf = shelf.warmed()
        with self._lock:
            self._shelves[kind] = shelf
        return shelf

    def _bench(self, kind: Kind) -> Bench:
        """Return what `optimizing` measures on."""
        from index_store.optimizing import Bench

        with self._readers.snapshot() as connection:
            shelves = {k: self._shelf(connection, k) for k in KINDS}
            live = {k: live_rows(connection, self._id, k, s.end) for k, s in shelves.items()}
        return Bench(self._path, self._id, kind, shelves, live, self._readers, self._writer)


def _condition(where: Where | None) -> tuple[str, list[object]]:
    """Return a filter as SQL with its values; of none, what always holds."""
    if where is None:
        return "1", []
    from index_store.where import to_sql

    return to_sql(where)
