"""How good and how fast a model is on Flickr8k, end to end from the files.

    python benchmarks/starter.py --data ../shared/data/flickr8k --model starter --split test

R@k is the CLIP papers' hit rate: text->image over all captions of the split against all its
pictures; image->text counts a picture whose top k holds any of its own captions. Ties count
against the model. Nothing is drawn at random. Any spec that `load_encoder` knows can be a rival.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmsearch.encoders import load_encoder
from mmsearch.train.figures import measure, read_split, table


def main() -> None:
    """Measure one model on one split and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/flickr8k"))
    parser.add_argument("--model", default="starter", help="any spec of load_encoder")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None, help="write the figures here too")
    args = parser.parse_args()
    encoder = load_encoder(args.model, threads=args.threads)
    result = measure(encoder, read_split(args.data, args.split))
    print(f"{args.model} on {args.split}: {encoder.space.name}, {encoder.space.dim} dimensions")
    print(table(result))
    print(f"{result['images_per_s']} images/s, {result['texts_per_s']} texts/s")
    if args.json:
        line = {"model": args.model, "space": encoder.space.name, "split": args.split, **result}
        args.json.write_text(json.dumps(line) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
