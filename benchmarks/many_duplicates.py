"""Time and memory of `mmsearch dupes` on a store of many pictures, with pixels to look at.

    python benchmarks/many_duplicates.py WORK --pictures 100000 [--threads N]

WORK gets small JPEGs (random smooth fields, 96x72), one in a hundred of them a copy of another:
recoded, halved or mirrored, in turn; and a store with them. Their vectors are made (clustered, as
pictures' are; a copy's lies near its original's), because to embed so many takes hours and `dupes`
does not: what is measured is the command itself, as a whole process. Precision and recall count
pairs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from index_store import Item, Space, Store
from mmsearch.uris import content_hash, key_of, stamp_of, uri_of

DIM, SIZE, BATCH = 384, (96, 72), 2_000
COPIES = 100  # one in so many
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    store, truth = work / "store", work / "copies.json"
    if not truth.exists():
        copies = make(work, store, args.pictures)
        truth.write_text(json.dumps(copies))
    known = {frozenset(pair) for pair in json.loads(truth.read_text())}
    command = [sys.executable, "-m", "mmsearch", "dupes", "--store", str(store), "--format", "json"]
    command += ["--threads", str(args.threads)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True)
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    groups = json.loads(done.stdout)["groups"]
    pairs = {frozenset(p) for g in groups for p in combinations([m["key"] for m in g], 2)}
    right = len(pairs & known)
    figures = {
        "pictures": args.pictures, "copies": len(known),
        "threads": args.threads, "wall_s": round(wall, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1), "peak_mb": round(used.ru_maxrss / 1024),
        "precision": round(right / len(pairs), 4), "recall": round(right / len(known), 4),
        "said": done.stderr.decode()[-200:],
    }  # fmt: skip
    print(json.dumps(figures))


def make(work: Path, store: Path, count: int) -> list[tuple[str, str]]:
    """Write pictures and store; return the keys of each copy and its original."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((max(count // 50, 1), DIM), dtype=np.float32)
    pairs: list[tuple[str, str]] = []
    with Store.open(store, create=True) as opened:
        collection = opened.create_collection("default", Space("made/1", DIM))
        for start in range(0, count, BATCH):
            n = min(BATCH, count - start)
            vectors = centres[rng.integers(0, len(centres), n)]
            vectors += 1.2 * rng.standard_normal((n, DIM), dtype=np.float32)
            items = []
            for row, (path, original) in enumerate(pictures(work, start, n, rng)):
                if original is not None:
                    vectors[row] = vectors[original - start]
                    vectors[row] += 0.5 * rng.standard_normal(DIM, dtype=np.float32)
                    pairs.append((key_of(path), key_of(work / place(original))))
                items.append(item(path))
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            collection.add(items, vectors)
    return pairs


def pictures(
    work: Path, start: int, count: int, rng: np.random.Generator
) -> Iterator[tuple[Path, int | None]]:
    """Write pictures; yield the path of each, and the number of what it is a copy of."""
    for number in range(start, start + count):
        path = work / place(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        original = None
        if number > start and number % COPIES == COPIES - 1:
            original = number - int(rng.integers(1, COPIES - 1))
            with Image.open(work / place(original)) as image:
                change = number // COPIES % 3
                if change == 1:
                    image = image.resize((SIZE[0] // 2, SIZE[1] // 2))
                elif change == 2:
                    image = ImageOps.mirror(image)
                image.save(path, quality=50 if change == 0 else 90)
        else:
            field = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(field).resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
        yield path, original


def place(number: int) -> str:
    return f"{number // 1000:04}/{number:07}.jpg"


def item(path: Path) -> Item:
    stat = path.stat()
    meta = {"width": SIZE[0], "height": SIZE[1], "bytes": stat.st_size}
    return Item(key_of(path), "image", uri_of(path), "", stamp_of(stat), content_hash(path), meta)


if __name__ == "__main__":
    main()
