"""Claim: `mmsearch eval` ranks 100,000 pictures against 500,000 captions in less than 6 GB.

Seeded synthetic vectors: each caption is its picture's direction plus noise. Prints one JSON
line with time, peak memory and the figures. The rival, the full matrix, would be 200 GB; with
--check it is computed too (small sizes only) and must give the same ranks.

    python benchmarks/evaluate_scale.py --pictures 1000 --check
    nice python benchmarks/evaluate_scale.py --pictures 100000
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import numpy as np

from index_store.types import Vectors
from mmsearch.evaluation.ranks import Relevance, rank_relevant
from mmsearch.metrics import Ranking, figures, intervals, per_query, replicates


def vectors(
    pictures: int, captions: int, dim: int, noise: float, seed: int
) -> tuple[Vectors, Vectors]:
    """Return (pictures, dim) and (pictures * captions, dim) unit rows."""
    rng = np.random.default_rng(seed)
    images = _unit(rng.standard_normal((pictures, dim), np.float32))
    texts = np.empty((pictures * captions, dim), np.float32)
    step = 20_000
    for start in range(0, len(texts), step):
        owner = np.arange(start, min(start + step, len(texts))) // captions
        block = rng.standard_normal((len(owner), dim), np.float32)
        texts[start : start + step] = _unit(images[owner] + noise * block / np.sqrt(dim))
    return images, texts


def _unit(rows: Vectors) -> Vectors:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def both_ways(pictures: int, captions: int) -> dict[str, Relevance]:
    pairs = np.arange(pictures * captions)
    ones = np.ones(len(pairs))
    return {
        "image_to_text": Relevance(np.arange(0, len(pairs) + 1, captions), pairs, ones),
        "text_to_image": Relevance(np.arange(len(pairs) + 1), pairs // captions, ones),
    }


def obvious(queries: Vectors, candidates: Vectors, relevant: Relevance) -> list[list[int]]:
    """Return the ranks of the relevant candidates from the full matrix, by sorting."""
    scores = queries @ candidates.T
    places = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
    return [sorted(places[q, relevant.of(q)].tolist()) for q in range(len(queries))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_000)
    parser.add_argument("--captions", type=int, default=5, help="per picture")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--noise", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--way", choices=["image_to_text", "text_to_image"], action="append")
    args = parser.parse_args()
    images, texts = vectors(args.pictures, args.captions, args.dim, args.noise, args.seed)
    result: dict[str, object] = {**vars(args), "texts": len(texts)}
    for way, relevant in both_ways(args.pictures, args.captions).items():
        if args.way and way not in args.way:
            continue
        sides = (images, texts) if way == "image_to_text" else (texts, images)
        result[way] = measured(*sides, relevant, args.captions, check=args.check)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    print(json.dumps(result | {"peak_rss_gb": round(peak, 2)}))


def measured(
    queries: Vectors, candidates: Vectors, relevant: Relevance, captions: int, *, check: bool
) -> dict[str, object]:
    def progress(done: int) -> None:
        print(f"\r{done:,}/{len(queries):,}", end="", file=sys.stderr)

    start = time.perf_counter()
    ranking = rank_relevant(queries, candidates, relevant, progress=progress)
    ranked = time.perf_counter()
    several = len(relevant.candidates) == len(queries)
    clusters = np.arange(len(queries)) // (captions if several else 1)
    values = per_query(ranking)
    edges = intervals(replicates(values, clusters))
    end = time.perf_counter()
    if check:
        assert _lists(ranking) == obvious(queries, candidates, relevant), "not the same ranks"
    return {
        "ranks_s": round(ranked - start, 1),
        "gflops": round(2e-9 * len(queries) * candidates.size / (ranked - start), 1),
        "intervals_s": round(end - ranked, 1),
        **{k: round(v, 3) for k, v in figures(values).items()},
        "ci95": {k: [round(x, 3) for x in v] for k, v in edges.items()},
        "same_as_full_matrix": check or None,
    }


def _lists(ranking: Ranking) -> list[list[int]]:
    parts = np.split(ranking.ranks, ranking.starts[1:-1])
    return [p.tolist() for p in parts]


if __name__ == "__main__":
    main()
