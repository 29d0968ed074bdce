"""A starter of the first kind with a picture head that sees more: the base of the second version.

`python -m mmsearch.train.grow_starter BUNDLE OUT PAIRS`: OUT is a checkpoint that gives the very
vectors of the bundle, and that training can make better use of.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmsearch.train.export_towers import write_starter
from mmsearch.train.loading import pictures
from mmsearch.train.pairs import read_pairs
from mmsearch.train.starter_model import StarterModel, grow, load_starter
from mmsearch.train.trainable import describe

PICTURES = 1000  # the new features are standardised by


def main(argv: list[str] | None = None) -> None:
    """Write the checkpoint."""
    parser = argparse.ArgumentParser(prog="mmsearch.train.grow_starter", description=__doc__)
    parser.add_argument("bundle", type=Path, help="a starter without levels")
    parser.add_argument("out", type=Path)
    parser.add_argument("pairs", help="pictures with captions, as for mmsearch train")
    args = parser.parse_args(argv)
    dual, _ = load_starter(args.bundle)
    model = dual.module
    assert isinstance(model, StarterModel)
    some = read_pairs(args.pairs, split="train").limited(PICTURES, seed=0)
    grow(model, (pixels for _, pixels in pictures(some, dual, size=32, workers=2)))
    write_starter(model, args.bundle, args.out / "model")
    describe(args.out, "starter", base=str(args.bundle), alpha=0.0, forced=False)


if __name__ == "__main__":
    main()
