"""Choose an index for a shelf: build, tune on half of the queries, measure with the other half.

Queries of the sort that will be asked decide: an index tuned with stored pictures loses much of
its recall on texts, which lie far from all pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index_store import ann, hits
from index_store.db import ReadPool
from index_store.errors import BadVectors
from index_store.publish import build
from index_store.publish import publish as publish_index
from index_store.recipe import (
    CANDIDATES,
    INDEX_KINDS,
    MOST_CANDIDATES,
    SMALLEST,
    Recipe,
    choose,
    ladder,
    recipe_for,
)
from index_store.reports import OptimizeReport, Target, Trial
from index_store.scan import Mask, Positions, decode, scan
from index_store.shelf import IndexFile, Shelf
from index_store.types import Kind, Vectors

if TYPE_CHECKING:
    from index_store.writer import Writer

K = 10  # recall@10
QUERIES = 400  # half to tune, half to judge
FEWEST_QUERIES = 20
WARM_UP = 3
CHEAP = 1_024  # candidates: up to here longer codes would not be faster
# Tuned to somewhat more than the target, since the other half of the queries judges.
SAFETY = 0.25

Ask = Callable[[Shelf, Vectors, int], Positions]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Queries:
    """Vectors to measure with. asked: where from; own: the positions they are stored at, which
    are no answers to themselves, or None."""

    vectors: Vectors
    asked: str
    own: Positions | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def halves(self) -> tuple[Queries, Queries]:
        """Return every other query, and the rest."""
        own = [None, None] if self.own is None else [self.own[0::2], self.own[1::2]]
        even, odd = (Queries(self.vectors[n::2], self.asked, own[n]) for n in (0, 1))
        return even, odd


Built = tuple[Trial, Recipe, ann.AnnIndex | None]


@dataclass(frozen=True, slots=True)
class Bench:
    """A collection as it is measured. live: by kind and position, whether it belongs to an item,
    as the snapshot saw it that the shelves are of."""

    store: Path
    collection: int
    kind: Kind
    shelves: Mapping[Kind, Shelf]
    live: Mapping[Kind, Mask]
    readers: ReadPool
    writer: Writer | None

    @property
    def shelf(self) -> Shelf:
        return self.shelves[self.kind]

    def find(self, tried: Shelf, vector: Vectors, k: int) -> Positions:
        """Return the positions of at least k items, if so many are there, found through a shelf
        that is tried, all the way that a query goes."""
        with self.readers.snapshot() as connection:
            found, live = hits.best(connection, self.collection, self.kind, tried, vector, k)
            hits.matches(self.store, tried, live, found[0], k)
        positions = found[0][0]
        return positions[[p in live for p in positions.tolist()]]


def optimize(
    bench: Bench, target: Target, vectors: Vectors | None, indexes: Sequence[str],
    *, exact: bool = True, thorough: bool = True, publish: bool = True,
    progress: Progress | None = None,
) -> OptimizeReport:  # fmt: skip
    """See `Collection.optimize`. exact: whether exact search may be chosen; thorough: as in
    `trials`."""
    shelf, live = bench.shelf, bench.live[bench.kind]
    queries = stored_queries(bench) if vectors is None else Queries(vectors, "given")
    tries = families(shelf.slots, queries.vectors.shape[1], target, indexes, queries)
    if not exact:
        tries = [f for f in tries if f[0].kind != "exact"]
    judge = Judge(shelf, live, queries, target, bench.find, progress)
    measured, best = trials(judge, tries, named=bool(indexes), thorough=thorough)
    published = best is not None and publish
    if best and published and bench.writer:
        published = publish_index(
            bench.writer,
            bench.store,
            bench.collection,
            bench.kind,
            shelf,
            best[2],
            best[1],
            lasting=bool(indexes),
        )
    return OptimizeReport(
        bench.kind, int(np.count_nonzero(live)), len(queries), queries.asked, target,
        tuple(measured), best[0] if best else None, published,
    )  # fmt: skip


class Judge:
    """Builds, tunes and measures one index after another with the same queries.

    Raises:
        BadVectors: fewer than 20 queries.
    """

    def __init__(
        self, shelf: Shelf, live: Mask, queries: Queries, target: Target, ask: Ask,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        """live: by position; dead rows are no answers. ask: the way a query goes, timed."""
        if len(queries) < FEWEST_QUERIES:
            raise BadVectors(f"{len(queries)} queries measure nothing: at least {FEWEST_QUERIES}")
        self.shelf, self.target, self.ask = shelf, target, ask
        self.say = progress or (lambda _: None)
        self.tuning, self.judging = queries.halves()
        self.say(f"exact answers to {len(queries)} queries")
        self.truths = [_truth(shelf, live, half) for half in (self.tuning, self.judging)]

    def __call__(self, recipe: Recipe) -> Built:
        name = f"{recipe.kind} subs={recipe.subs}" if recipe.subs else recipe.kind
        self.say(f"building {name}" if recipe.kind != "exact" else "measuring exact search")
        start = time.perf_counter()
        index = None if recipe.kind == "exact" else build(self.shelf, recipe)
        build_s = time.perf_counter() - start
        if index is not None:
            recipe = _tuned(recipe, index, self.shelf, self.tuning, self.truths[0], self.target)
            self.say(f"measuring {name}")
        recipe = recipe.aimed(self.target)
        trial = _judged(
            self.shelf, recipe, index, self.judging, self.truths[1], self.target, self.ask, build_s
        )
        return trial, recipe, index


def trials(
    judge: Callable[[Recipe], Built], families: Sequence[Sequence[Recipe]],
    *, named: bool = False, thorough: bool = True,
) -> tuple[list[Trial], Built | None]:  # fmt: skip
    """Return all that was measured, and the one chosen with its index, or None.

    The fastest of those that meet the target is chosen; exact search, which loses nothing, also
    if another takes more than half of its time.

    Args:
        named: every one was asked for by name. Else a family whose first is slower than what is
            there already is left, and exact search is not measured after others.
        thorough: try all families. Else the first that meets the target ends it, and within it
            the first that does so with few candidates.
    """
    best: Built | None = None
    measured = []
    for family in families:
        before = best
        if before and not named and family[0].kind == "exact":
            continue
        for recipe in family:
            built = judge(recipe)
            measured.append(built[0])
            if not built[0].missed and (best is None or _cost(built) < _cost(best)):
                best = built
            if best and not thorough and best[1].candidates <= CHEAP:
                break
            if before and not named and built is not best:
                break
        if best and not thorough:
            break
    return measured, best


def _cost(built: Built) -> float:
    trial, recipe, _ = built
    return trial.p50_ms / 2 if recipe.kind == "exact" else trial.p50_ms


def families(
    n: int, dim: int, target: Target, indexes: Sequence[str], queries: Queries
) -> list[list[Recipe]]:
    """Return what to try: the kinds that were named, or what `choose` says.

    Raises:
        ValueError: an unknown kind.
    """
    unknown = [i for i in indexes if i not in INDEX_KINDS]
    if unknown:
        raise ValueError(f"unknown kind of index {unknown[0]!r} (known: {', '.join(INDEX_KINDS)})")
    if indexes:
        able = [i for i in INDEX_KINDS if i in indexes and (i == "exact" or n >= SMALLEST)]
        both = [recipe_for(i, n, dim, coarse=c) for i in able for c in (True, False)]
        return [[r] for r in dict.fromkeys(both)] or [[Recipe("exact")]]
    return choose(n, dim, target, modality=queries.own is None)


def stored_queries(bench: Bench) -> Queries:
    """Return stored vectors of the other kind, which is what will be asked; else, if there are
    too few of them, of the same kind. At most 400, spread evenly; fewer if fewer are stored."""
    other: Kind = "text" if bench.kind == "image" else "image"
    for asked in (other, bench.kind):
        positions = np.flatnonzero(bench.live[asked])
        chosen = positions[np.unique(np.linspace(0, len(positions) - 1, QUERIES).astype(np.int64))
                           if len(positions) else slice(0)]  # fmt: skip
        if len(chosen) >= FEWEST_QUERIES or asked == bench.kind:
            break
    vectors = np.empty((len(chosen), 0), np.float32)
    for part in bench.shelves[asked].parts:
        here = chosen[(chosen >= part.base) & (chosen < part.base + len(part.rows))]
        rows = decode(part.rows[here - part.base])
        vectors = rows if not vectors.size else np.concatenate([vectors, rows])
    return Queries(vectors, asked, chosen if asked == bench.kind else None)


def _truth(shelf: Shelf, live: Mask, queries: Queries) -> list[Positions]:
    """Return the K best positions for each query, by looking at every vector."""
    allowed = None if live.all() else live
    found = [positions for positions, _ in scan(shelf.parts, queries.vectors, K + 1, allowed)]
    own = [-1] * len(found) if queries.own is None else queries.own.tolist()
    return [p[p != o][:K] for p, o in zip(found, own, strict=True)]


def _tuned(
    recipe: Recipe, index: ann.AnnIndex, shelf: Shelf, queries: Queries, truth: list[Positions],
    target: Target,
) -> Recipe:  # fmt: skip
    """Return the recipe with the least effort that reaches the target, else with the most."""
    goal = target.recall + SAFETY * (1 - target.recall)
    base, dim = shelf.segments[0].base, queries.vectors.shape[1]
    most = max(min(MOST_CANDIDATES, (shelf.slots - 1) // 2), 1)
    least: Recipe | None = None
    for probes in ladder(recipe):
        recipe = replace(recipe, probes=probes, candidates=CANDIDATES)
        if least and recipe.work(shelf.slots, dim) >= least.work(shelf.slots, dim):
            break
        # Of a graph no more can be asked than it is searched broadly.
        limit = min(most, probes) if probes and not recipe.lists else most
        found = index.search(queries.vectors, limit, probes)
        ranks = np.concatenate([_ranks(f + base, t) for f, t in zip(found, truth, strict=True)])
        for candidates in _steps(limit):
            recipe = replace(recipe, candidates=candidates)
            if float(np.mean(ranks < candidates)) >= goal:
                if least is None or recipe.work(shelf.slots, dim) < least.work(shelf.slots, dim):
                    least = recipe
                break
        if least and not recipe.lists:
            break  # a graph's breadth costs more than what it names
    return least or recipe


def _steps(limit: int) -> Iterable[int]:
    step = CANDIDATES
    while step < limit:
        yield step
        step *= 2
    yield limit


def _ranks(found: Positions, wanted: Positions) -> Positions:
    """Return the 0-based rank of each wanted position; a huge one where it was not found."""
    places = {position: rank for rank, position in enumerate(found.tolist())}
    return np.array([places.get(w, 1 << 40) for w in wanted.tolist()], np.int64)


def _judged(
    shelf: Shelf, recipe: Recipe, index: ann.AnnIndex | None, queries: Queries,
    truth: list[Positions], target: Target, ask: Ask, build_s: float,
) -> Trial:  # fmt: skip
    """Measure single queries, all the way that a user's goes."""
    base = shelf.segments[0].base if shelf.segments else 0
    file = IndexFile(0, recipe.text, base, shelf.end, Path(), 0, "") if index else None
    tried = replace(shelf, index_file=file, index=index)
    if index is None:
        tried = tried.warmed()  # as it is in a process that asks again
    for vector in queries.vectors[:WARM_UP]:
        ask(tried, vector[None], K + 1)
    shares, times = [], []
    for n, (vector, wanted) in enumerate(zip(queries.vectors, truth, strict=True)):
        start = time.perf_counter()
        found = ask(tried, vector[None], K + 1)
        times.append(1_000 * (time.perf_counter() - start))
        if queries.own is not None:
            found = found[found != queries.own[n]]
        hits = len(np.intersect1d(found[:K], wanted))
        shares.append(hits / len(wanted) if len(wanted) else 1.0)
    p50, p99 = np.percentile(times, [50, 99])
    dim = queries.vectors.shape[1]
    trial = Trial(recipe.text, float(np.mean(shares)), float(p50), float(p99),
                  recipe.bytes_for(shelf.slots, dim), build_s)  # fmt: skip
    return replace(trial, missed=_missed(trial, target))


def _missed(trial: Trial, target: Target) -> tuple[str, ...]:
    missed = []
    if trial.recall < target.recall:
        missed.append("recall")
    if target.max_latency_ms is not None and trial.p50_ms > target.max_latency_ms:
        missed.append("latency")
    if target.max_ram is not None and trial.bytes > target.max_ram:
        missed.append("memory")
    return tuple(missed)
