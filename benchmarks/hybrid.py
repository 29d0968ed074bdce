"""Vectors, words, and all together: recall where one caption of each picture is stored as a text.

    python benchmarks/hybrid.py ../shared/data

Flickr8k's test pictures, the first caption of each stored, the other four asked as questions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Store
from index_store.lexical import Lexicon
from mmsearch import Engine, Query, ingest, load_encoder, read
from mmsearch.hybrid import lexicon_of, search_hybrid

RANKS = -1.0
# A name and the words' weight; None is vectors alone.
WAYS = {
    "vectors": None, "words": 1.0, "reciprocal ranks": RANKS, "both 0.3": 0.3, "both 0.5": 0.5,
    "both 0.7": 0.7,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--questions", type=int, default=4000)
    args = parser.parse_args()
    folder = (args.data / "flickr8k").resolve()
    images = json.loads((folder / "dataset.json").read_text())["images"]
    test = [i for i in images if i["split"] == "test"]
    encoder = load_encoder(args.model)
    with tempfile.TemporaryDirectory() as home, Store.open(home, create=True) as store:
        pictures = store.create_collection("default", encoder.space, model=args.model)
        samples = (
            replace(s, captions=s.captions[:1])  # type: ignore[union-attr, type-var]
            for s in read(str(folder / "dataset.json"), split="test")
        )
        ingest(samples, encoder, pictures)
        asked = [(s["raw"], str(folder / i["filename"])) for i in test for s in i["sentences"][1:]]
        print(json.dumps(figures(Engine(pictures, encoder), asked[: args.questions], WAYS)))


def figures(
    engine: Engine, asked: list[tuple[str, str]], ways: Mapping[str, float | None]
) -> dict[str, Any]:
    lexicon = lexicon_of(engine.collection)
    began = time.perf_counter()
    lexicon.search("anything", 1)
    out: dict[str, Any] = {"questions": len(asked),
                           "words built in s": round(time.perf_counter() - began, 2)}  # fmt: skip
    for name, weight in ways.items():
        began, ranks = time.perf_counter(), []
        for text, key in asked:
            query = Query(text, k=10)
            if name == "words":
                found = [f.key for f in lexicon.search(text, 10)]
            elif weight is None:
                found = [h.item.key for h in engine.search(query)]
            elif weight == RANKS:
                found = by_ranks(engine, lexicon, text)
            else:
                hits = search_hybrid(engine, lexicon, query, weight=weight)
                found = [h.item.key for h in hits]
            ranks.append(found.index(key) + 1 if key in found else 99)
        hit = np.array(ranks)
        out[name] = {f"R@{k}": round(100 * float((hit <= k).mean()), 1) for k in (1, 5, 10)}
        out[name]["ms"] = round(1000 * (time.perf_counter() - began) / len(asked), 1)
    return out


def by_ranks(engine: Engine, lexicon: Lexicon, text: str) -> list[str]:
    """Return what reciprocal rank fusion (Cormack, Clarke & Buettcher 2009) of the pictures'
    vectors and the words finds."""
    ways = (
        [h.item.key for h in engine.search(Query(text, k=100))],
        [f.key for f in lexicon.search(text, 100)],
    )
    scores: dict[str, float] = {}
    for keys in ways:
        for rank, key in enumerate(keys, start=1):
            scores[key] = scores.get(key, 0.0) + 1 / (60 + rank)
    return sorted(scores, key=lambda key: (-scores[key], key))[:10]


if __name__ == "__main__":
    main()
