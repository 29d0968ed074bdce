"""How much `search --not` should count: "a dog" without "snow" for many weights.

    python benchmarks/negatives.py ../shared/data --out negatives.json

Pairs (A, B) of things that captions name: pictures with A are wanted, and none with B. All pairs of
the list below for which a split has enough pictures with A and B, and with A alone. A picture has A
where at least two of its five captions name it, and B where one does. Of the best 10 hits: "fits"
has A and no B, "unwanted" has B. The weight is chosen by "fits" on the validation pictures and
reported on the test pictures, with 95 % intervals of a bootstrap over pairs; "gain" is what "fits"
has over the default weight, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Store
from mmsearch import Engine, Part, Query, ingest, load_encoder, read
from mmsearch.cli.parts import NOT_WEIGHT

WEIGHTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.5)
BEST = 10
BOTH, ALONE = 5, 20  # pictures with A and B, and with A alone, that a pair needs
SAMPLES = 2_000  # of the bootstrap
THINGS: Mapping[str, Mapping[str, str]] = {
    "flickr8k": {
        "a dog": r"\bdogs?\b", "snow": r"\bsnow", "a beach": r"\bbeach", "water": r"\bwater\b",
        "grass": r"\bgrass", "a child": r"\b(?:child|kid|boy|girl|toddler|baby)",
        "a man": r"\b(?:man|men|guy)\b", "a woman": r"\b(?:woman|women|lady)\b",
        "a bicycle": r"\b(?:bicycle|bike|cycl|biker)", "a street": r"\bstreet",
        "a ball": r"\b(?:ball|football|basketball|soccer|tennis)\b", "a crowd": r"\bcrowd",
        "a mountain": r"\b(?:mountain|cliff|climb)", "a car": r"\bcars?\b", "sand": r"\bsand",
        "a building": r"\bbuilding", "a tree": r"\b(?:trees?|woods|forest)\b",
        "a red shirt": r"\bred\b", "a hat": r"\b(?:hat|cap|helmet)\b", "a bench": r"\bbench",
    },
    "rsicd": {
        "trees": r"\btrees?\b", "buildings": r"\bbuildings?\b", "cars": r"\bcars?\b",
        "a river": r"\briver", "a road": r"\b(?:roads?|highway)\b", "a pond": r"\bponds?\b",
        "a parking lot": r"\bparking", "a lawn": r"\b(?:lawn|grass|meadow)",
        "a bridge": r"\bbridge", "planes": r"\bplanes?\b", "a playground": r"\bplayground",
        "houses": r"\bhouses?\b",
        "a swimming pool": r"\bswimming pool", "the sea": r"\b(?:sea|ocean|beach)",
        "mountains": r"\bmountain", "boats": r"\b(?:boats?|ships?)\b",
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    args = parser.parse_args()
    encoder = load_encoder(args.model, threads=1)
    result: dict[str, Any] = {"model": encoder.space.name, "seed": args.seed, "default": NOT_WEIGHT}
    for name, things in THINGS.items():
        dataset = (args.data / name / "dataset.json").resolve()
        figures = {}
        for split in ("val", "test"):
            with tempfile.TemporaryDirectory() as home, Store.open(home, create=True) as store:
                pictures = store.create_collection("default", encoder.space, model=args.model)
                ingest(read(str(dataset), split=split), encoder, pictures, threads=1)
                told = named(dataset, split, things)
                figures[split] = measured(Engine(pictures, encoder), told, args.seed)
            print(json.dumps({"set": name, "split": split, **figures[split]}), flush=True)
        best = max(WEIGHTS, key=lambda w: figures["val"]["weights"][str(w)]["fits"])
        result[name] = {"chosen": best, **figures}
        print(json.dumps({"set": name, "chosen on val": best}), flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def named(dataset: Path, split: str, things: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return how many captions of each picture name each thing, by the picture's key."""
    entries = json.loads(dataset.read_text())["images"]
    return {
        str(dataset.parent / e["filename"]): {
            thing: sum(bool(re.search(p, s["raw"].lower())) for s in e["sentences"])
            for thing, p in things.items()
        }
        for e in entries
        if e["split"] == split
    }


def measured(engine: Engine, told: dict[str, dict[str, int]], seed: int) -> dict[str, Any]:
    pairs = [(a, b) for a, b in permutations(next(iter(told.values())), 2) if judged(told, a, b)]
    rows: dict[float, list[tuple[float, float]]] = {}
    for weight in WEIGHTS:
        queries = [
            Query(a, k=BEST, parts=(Part(b, weight=-weight, name="not"),) if weight else ())
            for a, b in pairs
        ]
        hits = engine.search_batch(queries)
        rows[weight] = [
            (
                float(
                    np.mean([told[h.item.key][a] >= 2 and not told[h.item.key][b] for h in found])
                ),
                float(np.mean([told[h.item.key][b] > 0 for h in found])),
            )
            for (a, b), found in zip(pairs, hits, strict=True)
        ]
    drawn = np.random.default_rng(seed).integers(0, len(pairs), (SAMPLES, len(pairs)))
    usual = np.array(rows[NOT_WEIGHT])[:, 0]
    weights = {}
    for weight, own in rows.items():
        fits, unwanted = np.array(own).T
        weights[str(weight)] = {
            "fits": round(float(fits.mean()), 4), "unwanted": round(float(unwanted.mean()), 4),
            "gain": round(float((fits - usual).mean()), 4),
            "gain_95": [round(float(q), 4) for q in
                        np.percentile((fits - usual)[drawn].mean(1), [2.5, 97.5])],
        }  # fmt: skip
    return {"pictures": len(told), "pairs": len(pairs), "weights": weights}


def judged(told: dict[str, dict[str, int]], a: str, b: str) -> bool:
    """Return whether there are enough pictures to ask for A without B."""
    both = sum(t[a] >= 2 and t[b] > 0 for t in told.values())
    alone = sum(t[a] >= 2 and not t[b] for t in told.values())
    return both >= BOTH and alone >= ALONE


if __name__ == "__main__":
    main()
