"""Captions found by a picture, with and without their hubness taken off: recall, time. JSON.

    python -m benchmarks.captions ../shared/data/{flickr8k,openmoji,rsicd}/dataset.json
    python -m benchmarks.captions ../shared/data/fashion/dataset.json#title_group

The pictures of a split and their captions are stored, and each picture asks for captions, twice:
where all pictures are stored, and, of the half of them that is not, where the other half is.
After a # stands a field: what has the same value there shares its captions.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Item, Space, Store
from index_store.types import Vectors
from mmsearch import load_encoder
from mmsearch.evaluation.embedding import Embedded, embed
from mmsearch.evaluation.pairs import Pairs, read_pairs
from mmsearch.hubness import Hubs, captions_of
from mmsearch.stored_rows import Samples

K = (1, 5, 10)
RESAMPLES = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+", metavar="DATASET")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--split", default="test")
    args = parser.parse_args()
    encoder = load_encoder(args.model)
    out = {}
    for path in args.datasets:
        print(path, file=sys.stderr)
        path, _, group = path.partition("#")
        embedded = embed(encoder, read_pairs(path, split=args.split, group=group or None))
        out[Path(path).parent.name] = {
            "pictures": len(embedded.images), "captions": len(embedded.texts),
            "all are stored": figures(embedded, stored=1, asked=range(len(embedded.images))),
            "others are stored": figures(
                embedded, stored=2, asked=range(1, len(embedded.images), 2)
            ),
        }  # fmt: skip
    print(json.dumps({"model": encoder.space.name, "split": args.split, **out}, indent=2))


def figures(embedded: Embedded, *, stored: int, asked: range) -> dict[str, Any]:
    """Return recall in per cent where each `stored`-th picture is in the collection, its gain
    with a 95 % interval of the bootstrap over pictures, and ms a question."""
    images, texts = embedded.images, embedded.texts
    right = answers(embedded.pairs)
    with tempfile.TemporaryDirectory() as home, Store.open(home, create=True) as store:
        collection = store.create_collection("captions", Space("bench", images.shape[1]))
        pictures = [Item(f"p{n}") for n in range(0, len(images), stored)]
        captions = [Item(f"t{n}", "text", text=t) for n, t in enumerate(embedded.pairs.texts)]
        collection.add([*pictures, *captions], np.concatenate([images[::stored], texts]))
        hits, spent, hubs = {}, {}, Hubs(Samples(collection))

        def fair(row: Vectors) -> list[str]:
            return [h.item.key for h in captions_of(collection, row, max(K), hubs)[0]]

        def plain(row: Vectors) -> list[str]:
            return [m.item.key for m in collection.search(row, max(K), kind="text")[0]]

        for way, ask in (("cosines", plain), ("hubness off", fair)):
            began, firsts = time.perf_counter(), []
            for n in asked:
                found = ask(images[n : n + 1])
                ranks = [rank for rank, key in enumerate(found, 1) if key in right[n]]
                firsts.append(min(ranks, default=max(K) + 1))
            hits[way] = np.array(firsts)[:, None] <= np.array(K)
            spent[way] = round(1_000 * (time.perf_counter() - began) / len(asked), 2)
    gain = 100.0 * (hits["hubness off"].astype(float) - hits["cosines"])
    draws = np.random.default_rng(0).integers(len(gain), size=(RESAMPLES, len(gain)))
    spread = np.percentile(gain[draws].mean(1), [2.5, 97.5], axis=0)
    return {
        way: {f"R@{k}": round(100 * float(h), 1) for k, h in zip(K, of.mean(0), strict=True)}
        | {"ms": spent[way]}
        for way, of in hits.items()
    } | {
        f"gain R@{k}": [round(float(x), 1) for x in (gain[:, n].mean(), *spread[:, n])]
        for n, k in enumerate(K)
    }


def answers(pairs: Pairs) -> list[set[str]]:
    """Return the keys of the captions of each picture's group."""
    of: dict[str, set[str]] = {group: set() for group in pairs.groups}
    for text, own in enumerate(pairs.owners):
        for picture in own:
            of[pairs.groups[picture]].add(f"t{text}")
    return [of[group] for group in pairs.groups]


if __name__ == "__main__":
    main()
