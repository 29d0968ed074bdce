"""Vectors of a data set's pictures and captions, for `benchmarks/search.py`: two .npy files.

    python -m benchmarks.features ../shared/data/flickr8k/dataset.json FOLDER
    python -m benchmarks.search --vectors FOLDER/pictures.npy --texts FOLDER/captions.npy

Files that are there are kept. Captions are in an order drawn by lot, since those of one picture
follow one another in the data set.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from index_store.types import Vectors
from mmsearch import load_encoder, read
from mmsearch.images import open_picture
from mmsearch.pipeline import batched
from mmsearch.types import Sample

BATCH = 32
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="starter")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    samples = [s for s in read(args.dataset) if isinstance(s, Sample)]
    captions = [c for s in samples for c in s.captions]
    drawn = np.random.default_rng(0).permutation(len(captions))
    encoder = load_encoder(args.model)

    def pictures(some: list[Sample]) -> Vectors:
        prepared = [
            encoder.prepare(open_picture(s.path, target=encoder.image_size).image) for s in some
        ]
        return encoder.encode_images(np.stack(prepared))

    embed(args.folder / "pictures.npy", samples, pictures)
    embed(args.folder / "captions.npy", [captions[i] for i in drawn], encoder.encode_texts)


def embed(path: Path, things: list[T], encode: Callable[[list[T]], Vectors]) -> None:
    if path.exists():
        return
    rows = []
    for some in batched(things, BATCH):
        rows.append(encode(list(some)))
        print(f"\r{path.name}: {len(rows) * BATCH:,} of {len(things):,}", end="", file=sys.stderr)
    np.save(path, np.concatenate(rows))
    print(file=sys.stderr)


if __name__ == "__main__":
    main()
