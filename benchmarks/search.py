"""Our search beside raw FAISS and other engines: recall, time, size, filters. JSON on stdout.

    python -m benchmarks.search --n 100000
    python -m benchmarks.search --n 1000000 --queries 50 --rivals faiss
    python -m benchmarks.search --vectors pictures.npy --texts captions.npy

Synthetic vectors are clustered, with a modality gap as CLIP's have (`benchmarks/ann.py`): texts
lie in a cone of their own and near no picture. Real ones: two (n, dim) float arrays, as
`benchmarks/features.py` makes. All answer the same queries, one at a time, in this one process;
what is not installed is named as skipped. Ours is `Collection.search` whole: index, re-scoring,
the database, checksums. "In turn": ours, raw faiss with our own setting, raw faiss at its fastest
setting that reaches the target recall, and that with a SELECT of its hits' rows.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ann import vectors as synthetic
from benchmarks.rivals import RIVALS, post_filter
from index_store import Collection, Compare, Item, Space, Store, Target
from index_store.recipe import parse
from index_store.scan import Part, scan

K = 10
PARTS = (0.5, 0.1, 0.01, 0.001)
Ask = Callable[[np.ndarray], list[int]]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def read(args: argparse.Namespace, folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return (n, dim) float16 rows, made ones in a file in folder, and the queries of each sort."""
    if args.vectors:
        rows, texts = (_unit(np.load(p)) for p in (args.vectors, args.texts))
        held = args.queries + 400
        return rows[args.queries :].astype(np.float16), {
            "text": texts[:held], "picture": rows[: args.queries],
        }  # fmt: skip
    rng = np.random.default_rng(args.seed)
    centers = rng.standard_normal((1_000, args.dim)).astype(np.float32)
    cones = 3.0 * rng.standard_normal((2, args.dim)).astype(np.float32) / 2
    rows = np.memmap(folder / "rows", np.float16, "w+", shape=(args.n, args.dim))
    for base in range(0, args.n, 50_000):
        count = min(50_000, args.n - base)
        rows[base : base + count] = synthetic(count, args.dim, 1 + base, cones[0], centers)
    return rows, {
        "text": synthetic(args.queries + 400, args.dim, 10**9, cones[1], centers),
        "picture": synthetic(args.queries, args.dim, 10**8, cones[0], centers),
    }


def measure(ask: Ask, queries: np.ndarray, truth: list[set[int]]) -> dict[str, float]:
    """Return recall@10 and times of single queries."""
    ask(queries[0])
    shares, times = [], []
    for query, wanted in zip(queries, truth, strict=True):
        start = time.perf_counter()
        found = ask(query)
        times.append(1_000 * (time.perf_counter() - start))
        shares.append(len(wanted & set(found[:K])) / max(len(wanted), 1))
    p50, p99 = np.percentile(times, [50, 99])
    return {"recall@10": round(float(np.mean(shares)), 4), "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3), "min_ms": round(min(times), 3)}  # fmt: skip


def per_second(ask: Ask, queries: np.ndarray, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(ask, queries))
        return round(len(queries) / (time.perf_counter() - start), 1)


def in_turn(asks: dict[str, Ask], queries: np.ndarray) -> dict[str, Any]:
    """Return median times of single queries that all answer one after the other, in changing
    order, so that what else the machine does falls on all alike; and each as a multiple of the
    last one's."""
    names, rounds = list(asks), 3 * len(queries)
    times = {name: np.empty(rounds) for name in names}
    for n in range(rounds):
        for name in names[n % len(names) :] + names[: n % len(names)]:
            start = time.perf_counter()
            asks[name](queries[n % len(queries)])
            times[name][n] = 1_000 * (time.perf_counter() - start)
    least = times[names[-1]]
    return {
        name: {"p50_ms": round(float(np.median(t)), 3),
               "ratio": round(float(np.median(t) / np.median(least)), 3),
               "ratio_of_least": round(float(t.min() / least.min()), 3)}
        for name, t in times.items()
    }  # fmt: skip


def truths(rows: np.ndarray, queries: np.ndarray, keep: np.ndarray | None = None) -> list[set[int]]:
    return [set(p.tolist()) for p, _ in scan([Part(0, rows)], queries, K, keep)]


def ours(
    folder: Path, rows: np.ndarray, tuning: np.ndarray, args: argparse.Namespace
) -> tuple[dict[str, Any], Store, Collection]:
    """Store the rows durably, choose an index, open it again as a cold process would."""
    store = Store.open(folder, create=True)
    collection = store.create_collection("bench", Space("bench", rows.shape[1]))
    start = time.perf_counter()
    for base in range(0, len(rows), 256):
        block = rows[base : base + 256].astype(np.float32)
        items = [Item(str(base + i), meta={"n": base + i}) for i in range(len(block))]
        collection.add(items, block)
    ingest_s = time.perf_counter() - start
    say("choosing our index")
    start = time.perf_counter()
    report = collection.optimize(
        target=Target(args.target_recall), queries=tuning, indexes=args.index, progress=say
    )
    optimize_s = time.perf_counter() - start
    store.close()
    start = time.perf_counter()
    store = Store.open(folder, readonly=True)
    collection = store.collection("bench")
    collection.search(tuning[:1], K)
    open_s = time.perf_counter() - start
    figures = {
        "ingest_rows_per_s": round(len(rows) / ingest_s), "optimize_s": round(optimize_s, 1),
        "trials": [t.as_dict() for t in report.trials], "published": report.published,
        "bytes_per_vector": round(sum(i.bytes for i in collection.stats().indexes) / len(rows), 1),
        "open_to_first_answer_s": round(open_s, 3),
    }  # fmt: skip
    return figures, store, collection


def filtered(
    collection: Collection, rows: np.ndarray, queries: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Compare a filter inside the search with looking for enough hits that pass afterwards: in
    our own answers, and in those of raw faiss with a mask that is there already."""
    n = len(rows)
    lean = post_filter(rows)
    # Independent of the vectors, which are drawn in no order.
    for part in PARTS:
        say(f"filter that passes {part:.1%}")
        limit = max(int(part * n), 1)
        where = Compare("n", "<", limit)
        keep = np.arange(n) < limit
        truth = truths(rows, queries, keep)

        def inside(query: np.ndarray, where: Compare = where) -> list[int]:
            return [int(m.item.key) for m in collection.search(query[None], K, where=where)[0]]

        def after(query: np.ndarray, limit: int = limit) -> list[int]:
            want = K
            while True:
                (hits,) = collection.search(query[None], want)
                passing = [int(m.item.key) for m in hits if int(m.item.key) < limit]
                if len(passing) >= K or want >= min(n, 100_000):
                    return passing[:K]
                want *= 4

        def masked(query: np.ndarray, keep: np.ndarray = keep) -> list[int]:
            return lean(query, keep)

        start = time.perf_counter()
        inside(queries[0])
        first_ms = 1_000 * (time.perf_counter() - start)
        yield {
            "passing": part,
            "first_ms": round(first_ms, 1),
            "inside": measure(inside, queries, truth),
            "faiss_and_a_mask": measure(masked, queries, truth),
            "post_filter_of_5_queries": measure(after, queries[:5], truth[:5]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--long", action="store_true", help="10 million vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target-recall", type=float, default=0.95)
    parser.add_argument("--index", action="append", default=[], help="our kinds; default: chosen")
    parser.add_argument("--rivals", default=",".join(RIVALS), help="comma-separated")
    parser.add_argument("--vectors", type=Path, help=".npy of pictures' vectors")
    parser.add_argument("--texts", type=Path, help=".npy of texts' vectors")
    args = parser.parse_args()
    if args.long:
        args.n = 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        rows, queries = read(args, Path(folder))
        tuning, queries["text"] = queries["text"][args.queries :], queries["text"][: args.queries]
        say("exact answers")
        truth = {name: truths(rows, q) for name, q in queries.items()}
        figures, store, collection = ours(Path(folder) / "store", rows, tuning, args)

        def ask(query: np.ndarray) -> list[int]:
            return [int(m.item.key) for m in collection.search(query[None], K)[0]]

        engines: dict[str, Any] = {"mmsearch": figures | answers(ask, queries, truth)}
        engines["mmsearch"]["filtered"] = list(filtered(collection, rows, queries["text"][:50]))
        asks: dict[str, tuple[float, float, Ask]] = {}
        for name in [r for r in args.rivals.split(",") if r]:
            say(name)
            engines[name] = []
            try:
                for figures, theirs in RIVALS[name](rows, Path(folder)):
                    found = answers(theirs, queries, truth)
                    engines[name].append(figures | found)
                    if name == "faiss":
                        text = found["text"]
                        asks[figures["setting"]] = text["p50_ms"], text["recall@10"], theirs
            except (ImportError, OSError, RuntimeError, ValueError) as error:
                engines[name].append({"setting": f"skipped: {error}"})
            say(json.dumps(engines[name]))  # for whoever stops it before its end
        good = {s: (ms, a) for s, (ms, recall, a) in asks.items() if recall >= args.target_recall}
        if good:
            say("in turn")
            best = min(good, key=lambda s: good[s][0])
            faiss = good[best][1]
            select = with_select(Path(folder) / "store", faiss)
            turns = {"mmsearch": ask, f"{best}, and a SELECT": select}
            if (same := twin(collection)) in asks and same != best:
                turns[same] = asks[same][2]
            engines["in turn"] = in_turn({**turns, best: faiss}, queries["text"])
            say(json.dumps({"in turn": engines["in turn"], "mmsearch": engines["mmsearch"]}))
        store.close()
    call = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    print(json.dumps({**call, "rows": len(rows), "engines": engines}, indent=2))


def twin(collection: Collection) -> str:
    """Return what `rivals.faiss` calls the setting that our index has; "" if it has none."""
    stats = collection.stats().indexes
    recipe = parse(stats[0].type) if stats else None
    if recipe is None or recipe.kind not in ("pq4fs", "ivf-pq4fs"):
        return ""
    lists = f"IVF{recipe.lists}, " if recipe.lists else ""
    probes = f"{recipe.probes} probes, " if recipe.lists else ""
    return f"{lists}PQ{recipe.subs}x4fs + fp16, {probes}{recipe.candidates} candidates"


def with_select(store: Path, ask: Ask) -> Ask:
    """Return what raw faiss with the least database does: the rows of its hits, unchecked."""
    db = sqlite3.connect(f"{(store / 'meta.db').absolute().as_uri()}?mode=ro", uri=True)
    sql = (
        "SELECT key, uri, text, meta FROM item WHERE collection_id = 1 AND kind = 'image' "
        f"AND pos IN ({', '.join('?' * K)})"
    )

    def both(query: np.ndarray) -> list[int]:
        return [int(key) for key, *_ in db.execute(sql, ask(query))]

    return both


def answers(
    ask: Ask, queries: dict[str, np.ndarray], truth: dict[str, list[set[int]]]
) -> dict[str, Any]:
    found: dict[str, Any] = {name: measure(ask, q, truth[name]) for name, q in queries.items()}
    found["per_second"] = {str(t): per_second(ask, queries["text"], t) for t in (1, 2)}
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
