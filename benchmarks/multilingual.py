"""What a model does with questions in other languages: Flickr8k's test captions, translated.

    python benchmarks/multilingual.py ../shared/data --model starter

The same caption of each test picture that Multi30k has, asked in English, German, French and
Czech; hit rate among the 929 pictures. Its translations are those of the English caption, so the
languages differ in nothing else.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

from mmsearch.encoders import load_encoder
from mmsearch.images import open_picture

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "cs": "Czech"}
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    args = parser.parse_args()
    folder = args.data / "flickr8k"
    with gzip.open(folder / "multi30k_translations.json.gz", "rt", encoding="utf8") as file:
        entries = [e for e in json.load(file) if e["flickr8k_split"] == "test"]
    entries = list({e["filename"]: e for e in entries}.values())
    encoder = load_encoder(args.model)
    blocks = []
    for at in range(0, len(entries), BATCH):
        opened = [open_picture(folder / e["filename"], target=encoder.image_size).image
                  for e in entries[at : at + BATCH]]  # fmt: skip
        blocks.append(encoder.encode_images(np.stack([encoder.prepare(i) for i in opened])))
    pictures = np.concatenate(blocks)
    for code, language in LANGUAGES.items():
        scores = encoder.encode_texts([e[code] for e in entries]) @ pictures.T
        own = np.diag(scores)[:, None]
        ranks = (scores >= own).sum(1)  # ties count against the model
        row = {f"R@{k}": round(100 * float((ranks <= k).mean()), 1) for k in (1, 5, 10)}
        print(json.dumps({"model": args.model, "language": language, "pictures": len(entries),
                          **row, "median rank": float(np.median(ranks))}))  # fmt: skip


if __name__ == "__main__":
    main()
