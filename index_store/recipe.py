"""How an approximate index is made and asked: its kind, its sizes, its effort. No faiss here.

`Recipe.text` is what the database remembers of a published index:

    pq4fs:subs=256,candidates=256        ivf-sq8:lists=1024,probes=256,candidates=256
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal, get_args

from index_store.reports import Target

IndexKind = Literal[
    "exact", "pq4fs", "rabitq", "ivf-pq4fs", "ivf-rabitq", "ivf-pq8", "ivf-sq8", "ivf-flat",
    "hnsw-sq8", "hnsw-flat", "hnsw-cagra",
]  # fmt: skip
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
# 4-bit fast scan and fast-scan RaBitQ of faiss refuse selectors.
SELECTING = frozenset({"ivf-pq8", "ivf-sq8", "ivf-flat", "hnsw-sq8", "hnsw-flat"})

# Times the candidates and the lists under a filter: recall 0.99 where 0.95 is asked for.
FILTERED, FILTERED_LISTS = 4, 8
CANDIDATES = 256  # the least that are re-scored for one query
MOST_CANDIDATES = 8_192
FROM_ANYWHERE = 6  # times as long as in order takes a byte of a row that lies somewhere
SMALLEST = 256  # rows; below, there is nothing to train on
NEIGHBOURS = 32  # of a node of the graph (HNSW's M)
LISTS = 12  # at most two to the power of this: more take long to train
EXACT_ROWS = 200_000  # up to here a scan of the file is fast enough
FLAT_ROWS = 3_000_000  # up to here looking at every code beats lists, for texts


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to index.

    lists: of an inverted file. subs: sub-quantisers of a product quantiser. probes: lists
    visited (IVF) or the breadth of the search (HNSW's efSearch). candidates: re-scored exactly
    from the stored vectors, for one query. recall, ms, ram: the target that it was chosen for,
    kept so that a larger collection can be chosen for anew; 0 is none.
    """

    kind: IndexKind
    lists: int = 0
    subs: int = 0
    probes: int = 0
    candidates: int = CANDIDATES
    recall: float = 0.0
    ms: float = 0.0
    ram: int = 0

    @property
    def text(self) -> str:
        """The recipe as the database keeps it; `parse` reads it."""
        numbers = ((f.name, getattr(self, f.name)) for f in fields(self)[1:])
        return f"{self.kind}:" + ",".join(f"{name}={n:.12g}" for name, n in numbers if n)

    @property
    def selects(self) -> bool:
        """Whether the index can leave out rows by itself while it searches."""
        return self.kind in SELECTING

    @property
    def target(self) -> Target:
        return Target(self.recall or Target().recall, self.ms or None, self.ram or None)

    def aimed(self, target: Target) -> Recipe:
        """Return the recipe with the target written into it."""
        return replace(self, recall=target.recall, ms=float(target.max_latency_ms or 0),
                       ram=target.max_ram or 0)  # fmt: skip

    def asked(self, want: int, effort: int | None = None, passing: float = 1.0) -> tuple[int, int]:
        """Return how many candidates and probes a call for the `want` best gets.

        `passing`: the part of the rows that pass a filter. The fewer, the more is looked at, and
        more by FILTERED as soon as there is one: what is enough for what is searched most is
        measured without, and what a filter leaves may lie further from the query.

        The same for small and middling `want`, in doubling steps beyond, so that a shorter
        answer is the start of a longer one.
        """
        if effort:
            candidates = max(effort, want)
        else:
            candidates = self.candidates
            while candidates < 4 * want:
                candidates *= 2
        more, lists = (FILTERED, FILTERED_LISTS) if passing < 1 and not effort else (1, 1)
        named = candidates * more
        if not self.selects:
            named = math.ceil(named / passing)
        if not self.probes:
            return named, 0
        probes = self.probes * candidates / self.candidates / passing
        if self.lists:
            return named, min(max(math.ceil(probes * lists), 1), self.lists)
        return named, max(math.ceil(probes), named)

    def bytes_for(self, n: int, dim: int) -> int:
        """Return about how large the index over n rows is."""
        code = {
            "exact": 2 * dim, "pq4fs": self.subs / 2, "rabitq": dim / 8 + 8,
            "ivf-pq4fs": self.subs / 2 + 8, "ivf-rabitq": dim / 8 + 16, "ivf-pq8": self.subs + 8,
            "ivf-sq8": dim + 8, "ivf-flat": 2 * dim + 8,
            "hnsw-sq8": dim + 8 * NEIGHBOURS + 16, "hnsw-flat": 2 * dim + 8 * NEIGHBOURS + 16,
            "hnsw-cagra": 4 * dim + 4 * NEIGHBOURS + 16,
        }[self.kind]  # fmt: skip
        codebooks = {"pq4fs": 16, "ivf-pq4fs": 16, "ivf-pq8": 256}.get(self.kind, 0)
        return int(n * code) + (self.lists + codebooks) * dim * 4

    def work(self, n: int, dim: int) -> int:
        """Return what a query over n rows costs, as bytes of codes looked at in their order."""
        codes = self.bytes_for(n, dim) * (self.probes / self.lists if self.lists else 1)
        return int(codes) + FROM_ANYWHERE * self.candidates * 2 * dim

    def train_rows(self) -> int:
        """Return how many rows to train on: faiss wants 39 for each list."""
        return max(32_768, 40 * self.lists)


@lru_cache(maxsize=64)  # every search asks
def parse(text: str) -> Recipe | None:
    """Return the recipe of a published index; None if this version cannot ask it."""
    kind, _, rest = text.partition(":")
    if kind not in INDEX_KINDS:
        return None
    if text == "pq4fs":  # before recipes: always these
        return Recipe("pq4fs", candidates=1_024)
    types = {f.name: float if f.name in {"recall", "ms"} else int for f in fields(Recipe)[1:]}
    try:
        values = {name: types[name](value) for name, value in
                  (pair.split("=") for pair in rest.split(",") if pair)}  # fmt: skip
    except (KeyError, ValueError):
        return None
    return Recipe(kind, **values)  # type: ignore[arg-type]


def recipe_for(kind: IndexKind, n: int, dim: int, *, coarse: bool = False) -> Recipe:
    """Return the recipe of this kind for n rows, its effort not yet tuned.

    Args:
        coarse: twice as many dimensions to a sub-quantiser: half the memory, less recall.
    """
    lists = subs = probes = 0
    if kind.startswith("ivf"):
        lists = 1 << max(4, min(LISTS, round(1 + math.log2(max(n, 2)) / 2)))
        probes = lists // 4
    if "pq" in kind:
        subs = _divisor(dim, 4 if coarse or kind == "ivf-pq8" else 2)
    if kind.startswith("hnsw"):
        probes = CANDIDATES
    return Recipe(kind, lists=lists, subs=subs, probes=probes)


def choose(n: int, dim: int, target: Target, *, modality: bool = True) -> list[list[Recipe]]:
    """Return what to try for n rows, in families of which the first is the most promising, all
    within the memory asked for.

    Args:
        modality: whether it will be measured with queries of the sort that will be asked. If
            not, only kinds that look at every code: what others lose on queries from afar
            (texts asking pictures) would stay unseen.
    """
    # Short codes with more candidates are the faster ones up to some recall.
    flat = [recipe_for("pq4fs", n, dim, coarse=True), recipe_for("pq4fs", n, dim)]
    lists = [recipe_for("ivf-pq4fs", n, dim, coarse=True), recipe_for("ivf-pq4fs", n, dim)]
    exact = [Recipe("exact")]
    if n < SMALLEST:
        families = [exact]
    elif n <= EXACT_ROWS:
        families = [exact, flat]
    elif n <= FLAT_ROWS:
        families = [flat, lists, exact]
    else:
        families = [[*lists, recipe_for("ivf-rabitq", n, dim)], flat, exact]
    if not modality:
        families = [f for f in families if not f[0].lists]
    most = target.max_ram
    fitting = [
        [r for r in dict.fromkeys(f) if most is None or r.bytes_for(n, dim) <= most]
        for f in families
    ]
    fitting = [f for f in fitting if f]
    return fitting or ([[recipe_for("rabitq", n, dim)]] if n >= SMALLEST else [])


def ladder(recipe: Recipe) -> Iterable[int]:
    """Return the probes to try, fewest first; of a kind without any: only 0."""
    if recipe.lists:
        return [1 << s for s in range(2, recipe.lists.bit_length())]
    return (256, 512, 1_024, 2_048, 4_096) if recipe.probes else (0,)


def _divisor(dim: int, at_least: int) -> int:
    """Return the largest divisor of dim that leaves at least so many dimensions to each."""
    return max(m for m in range(1, max(dim // at_least, 1) + 1) if dim % m == 0)
