"""Pictures that no training set holds: those which scikit-image and scikit-learn carry.

    python benchmarks/other_photos.py --model starter --model onnx:OTHER --json figures.jsonl

Two or three plain questions a picture, written down before the second starter was measured. Rank 1
is right; ties count against the model. Nothing is drawn at random.
"""

from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mmsearch.encoders import load_encoder
from mmsearch.images import open_picture
from mmsearch.train.figures import first_ranks

QUESTIONS = {
    "skimage/data/astronaut.png": ("an astronaut in an orange suit", "a smiling woman"),
    "skimage/data/brick.png": ("a brick wall",),
    "skimage/data/camera.png": ("a man with a camera", "a photographer with a tripod"),
    "skimage/data/chelsea.png": ("a cat", "the face of a cat with green eyes"),
    "skimage/data/clock_motion.png": ("a clock", "a blurred clock on a wall"),
    "skimage/data/coffee.png": ("a cup of coffee", "an espresso with a spoon on a saucer"),
    "skimage/data/coins.png": ("coins", "rows of old coins"),
    "skimage/data/grass.png": ("grass",),
    "skimage/data/gravel.png": ("gravel", "small stones"),
    "skimage/data/horse.png": ("a horse", "the black shape of a horse"),
    "skimage/data/hubble_deep_field.jpg": ("stars", "galaxies in space"),
    "skimage/data/moon.png": ("the moon", "craters on the moon"),
    "skimage/data/motorcycle_left.png": ("a motorcycle", "a motorbike in a garage"),
    "skimage/data/page.png": ("a page of a book", "printed text"),
    "skimage/data/retina.jpg": ("the retina of an eye",),
    "skimage/data/rocket.jpg": ("a rocket launch", "a rocket taking off at night"),
    "sklearn/datasets/images/china.jpg": ("a Chinese temple", "a building with a curved roof"),
    "sklearn/datasets/images/flower.jpg": ("a flower", "a pink and orange blossom"),
}


def main() -> None:
    """Print the ranks of each model, and a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", action="append", help="any spec of load_encoder; repeatable")
    parser.add_argument("--json", type=Path, default=None, help="add a line a model to this file")
    args = parser.parse_args()
    paths = [_installed(name) for name in QUESTIONS]
    texts = [text for own in QUESTIONS.values() for text in own]
    owner = np.repeat(np.arange(len(paths)), [len(own) for own in QUESTIONS.values()])
    for spec in args.model or ["starter"]:
        encoder = load_encoder(spec)
        pictures = [open_picture(path, target=encoder.image_size).image for path in paths]
        images = encoder.encode_images(np.stack([encoder.prepare(p) for p in pictures]))
        scores = encoder.encode_texts(texts) @ images.T
        ranks = first_ranks(scores, owner[:, None] == np.arange(len(paths)))
        wrong = [f"{text} ({rank})" for text, rank in zip(texts, ranks, strict=True) if rank > 1]
        print(f"{spec}: {(ranks == 1).sum()} of {len(texts)} first, mean rank {ranks.mean():.2f}")
        print("  not first (rank): " + "; ".join(wrong))
        if args.json:
            line = {"model": spec, "space": encoder.space.name, "ranks": ranks.tolist()}
            with args.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def _installed(name: str) -> Path:
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: pip install scikit-image scikit-learn")
    return Path(spec.origin).parent / rest


if __name__ == "__main__":
    main()
