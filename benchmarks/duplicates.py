"""How well `mmsearch dupes` tells copies from other pictures, and how it scales.

    python benchmarks/duplicates.py ../shared/data --pictures 300
    python benchmarks/duplicates.py ../shared/data --set rsicd --pictures 300
    python benchmarks/duplicates.py --rows 100000

The first: test pictures of Flickr8k beside copies that this script makes (recoded, scaled,
cropped, mirrored, in grey, brightened; one copy of each picture, the sorts in turn), and the
`dups` of the messy set, each indexed with `starter`. The second: another set in Flickr8k's place,
on which no limit was set; what is told besides is what it holds more than once already. Precision
and recall count pairs of pictures in one group. The third: vectors alone, clustered, with planted
near ones; the pairs found against the planted ones.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from index_store import Store
from index_store.pairs import close_pairs
from mmsearch import ingest, load_encoder, open_picture, read
from mmsearch.organise.duplicates import find_duplicates

Pair = frozenset[str]


def crop(part: float) -> Callable[[Image.Image, random.Random], Image.Image]:
    def cut(image: Image.Image, rng: random.Random) -> Image.Image:
        width, height = (round(side * part) for side in image.size)
        x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        return image.crop((x, y, x + width, y + height))

    return cut


COPIES: dict[str, tuple[Callable[[Image.Image, random.Random], Image.Image], int]] = {
    "quality 25": (lambda i, _: i, 25),
    "quality 10": (lambda i, _: i, 10),
    "half": (lambda i, _: i.resize((i.width // 2, i.height // 2)), 90),
    "quarter": (lambda i, _: i.resize((i.width // 4, i.height // 4)), 90),
    "crop 90 %": (crop(0.9), 90),
    "crop 80 %": (crop(0.8), 90),
    "crop 72 %": (crop(0.72), 90),
    "mirror": (lambda i, _: ImageOps.mirror(i), 90),
    "grey": (lambda i, _: i.convert("L"), 90),
    "brighter": (lambda i, _: ImageEnhance.Brightness(i).enhance(1.4), 90),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--set", choices=["flickr8k", "rsicd", "fashion", "openmoji"],
                        default="flickr8k")  # fmt: skip
    parser.add_argument("--split", default="test")
    parser.add_argument("--show", type=int, default=0, metavar="N",
                        help="print N of the pairs that are no copies of ours")  # fmt: skip
    args = parser.parse_args()
    if args.rows:
        print(json.dumps(scale(args.rows)))
    if args.data:
        with tempfile.TemporaryDirectory() as folder:
            data = args.data / args.set
            print(json.dumps(copied(data, Path(folder), args)), flush=True)
            if args.set == "flickr8k":
                print(json.dumps(messy(args.data / "messy", Path(folder))))


def copied(data: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    entries = json.loads((data / "dataset.json").read_text())["images"]
    test = [e["filename"] for e in entries if e["split"] == args.split]
    rng = random.Random(0)
    chosen = set(rng.sample(test, min(args.pictures, len(test))))
    pictures, truth = folder / "pictures", {}
    pictures.mkdir()
    sorts = list(COPIES)
    for n, name in enumerate(test):
        image = open_picture(data / name).image
        original = pictures / f"{n}.png"
        image.save(original)
        if name in chosen:
            sort = sorts[len(truth) % len(sorts)]
            change, quality = COPIES[sort]
            copy = pictures / f"{n}-copy.jpg"
            change(image, rng).save(copy, quality=quality)
            truth[frozenset((str(original), str(copy)))] = sort
    names = {str(pictures / f"{n}.png"): name for n, name in enumerate(test)}
    found = measured(pictures, folder / "a", truth, names, args.show)
    return {"set": f"{data.name} {args.split} + copies", **found}


def messy(data: Path, folder: Path) -> dict[str, Any]:
    groups: dict[int, list[str]] = {}
    for entry in json.loads((data / "manifest.json").read_text())["files"]:
        if entry["kind"] == "duplicate":
            groups.setdefault(entry["group"], []).append(str(data.resolve() / entry["path"]))
    truth = {frozenset(p): "dups" for g in groups.values() for p in combinations(g, 2)}
    source = data.resolve() / "generated" / "dups"
    return {"set": "messy dups", **measured(source, folder / "b", truth)}


def measured(
    source: Path, store: Path, truth: dict[Pair, str], names: Mapping[str, str] | None = None,
    show: int = 0,
) -> dict[str, Any]:  # fmt: skip
    encoder = load_encoder("starter")
    with Store.open(store, create=True) as opened:
        collection = opened.create_collection("default", encoder.space, model="starter")
        report = ingest(read(str(source)), encoder, collection)
        out: dict[str, Any] = {"pictures": report.added, "copies": len(truth)}
        for name, how in {
            "pixels": {},
            "pixels 0.75": {"alike": 0.75},
            "pixels 0.9": {"alike": 0.9},
            "pixels 0.95": {"alike": 0.95},
            "vectors 0.95": {"pixels": False},
            "vectors 0.9": {"pixels": False, "alike": 0.9},
        }.items():
            began = time.perf_counter()
            found = find_duplicates(collection, **how)  # type: ignore[arg-type]
            pairs = grouped([m.item.key for m in g] for g in found.groups)
            right = pairs & set(truth)
            out[name] = {
                "precision": round(len(right) / max(len(pairs), 1), 4),
                "recall": round(len(right) / len(truth), 4), "others": len(pairs - set(truth)),
                **({"shown": [[(names or {}).get(k, k) for k in sorted(p)]
                              for p in sorted(pairs - set(truth), key=sorted)[::-1][:show]]}
                   if show else {}),
                "seconds": round(time.perf_counter() - began, 1),
                "missed": {s: sum(v == s and p not in pairs for p, v in truth.items())
                           for s in sorted(set(truth.values()))},
            }  # fmt: skip
    return out


def grouped(groups: Iterable[list[str]]) -> set[Pair]:
    return {frozenset(p) for g in groups for p in combinations(g, 2)}


def scale(rows: int, dim: int = 384) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    planted = rows // 50
    centres = rng.standard_normal((rows // 50, dim)).astype(np.float32)
    vectors = centres[rng.integers(0, len(centres), rows)]
    vectors += 1.2 * rng.standard_normal((rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sources = rng.choice(rows - planted, planted, replace=False)
    cosines = rng.uniform(0.6, 0.98, planted).astype(np.float32)[:, None]
    noise = rng.standard_normal((planted, dim)).astype(np.float32)
    noise -= np.sum(noise * vectors[sources], 1, keepdims=True) * vectors[sources]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    vectors[rows - planted :] = cosines * vectors[sources] + np.sqrt(1 - cosines**2) * noise
    began = time.perf_counter()
    pairs, _ = close_pairs(vectors.astype(np.float16), 0.55)
    seconds = time.perf_counter() - began
    found = set(map(tuple, pairs.tolist()))
    hit = np.array([(int(s), rows - planted + n) in found for n, s in enumerate(sources)])
    bands = {f"{low:.1f}": hit[(cosines[:, 0] >= low) & (cosines[:, 0] < low + 0.1)].mean()
             for low in (0.6, 0.7, 0.8, 0.9)}  # fmt: skip
    return {
        "rows": rows, "dim": dim, "seconds": round(seconds, 1), "planted": planted,
        "recall": round(float(hit.mean()), 4),
        "recall_from_cosine": {k: round(float(v), 4) for k, v in bands.items()},
    }  # fmt: skip


if __name__ == "__main__":
    main()
