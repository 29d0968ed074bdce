"""How often is a date read in captions that name none? Ours, and dateparser's search.

    python benchmarks/date_words.py DATASET.json ... [--rival 2000]

Captions of pictures tell what is seen: whatever is taken for a time in them is a mistake, or
nearly always. Each reading is printed to stderr, to be judged by eye. The rival runs on a
sample, seed 0, in an environment that has it (pip install dateparser).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

from mmsearch.asking import read_dates

TODAY = date(2026, 11, 24)


def ours(text: str) -> str:
    return read_dates(text, TODAY).words


def rival(text: str) -> str:
    from dateparser.search import search_dates

    settings = {"RELATIVE_BASE": datetime(TODAY.year, TODAY.month, TODAY.day)}
    found = search_dates(text, languages=["en"], settings=settings) or []
    return ", ".join(words for words, _ in found)


def count(name: str, read: Callable[[str], str], captions: list[str]) -> dict[str, object]:
    read_as = [(c, words) for c in captions if (words := read(c))]
    for caption, words in read_as[:20]:
        print(f"{name}: {words!r} in {caption!r}", file=sys.stderr)
    return {"reader": name, "captions": len(captions), "read a date": len(read_as)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--rival", type=int, default=0, metavar="N", help="captions for it")
    args = parser.parse_args()
    captions = [
        sentence["raw"]
        for path in args.datasets
        for image in json.loads(path.read_text("utf8"))["images"]
        for sentence in image["sentences"]
    ]
    print(json.dumps(count("mmsearch", ours, captions)))
    if args.rival:
        sample = random.Random(0).sample(captions, args.rival)
        print(json.dumps(count("mmsearch, the same captions", ours, sample)))
        print(json.dumps(count("dateparser", rival, sample)))


if __name__ == "__main__":
    main()
