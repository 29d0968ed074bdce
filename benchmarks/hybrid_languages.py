"""Vectors, words, and both, where captions or questions are not English.

    python -m benchmarks.hybrid_languages ../shared/data

Flickr8k's test pictures that Multi30k has, one text of each stored with it, and hit rates in per
cent of what is asked:

- another person's English caption is stored, Multi30k's caption asked in English, German, French
  and Czech;
- Multi30k's caption is stored in one of the languages, and three of its words are asked (drawn by
  a fixed seed, of at least four letters: what somebody remembers), and the English caption.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.hybrid import RANKS, figures
from index_store import Store
from mmsearch import Encoder, Engine, ingest, load_encoder, read
from mmsearch.types import Sample

LANGUAGES = ("en", "de", "fr", "cs")
WAYS = {"vectors": None, "words": 1.0, "reciprocal ranks": RANKS, "both": 0.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    args = parser.parse_args()
    folder = (args.data / "flickr8k").resolve()
    entries = translated(folder)
    encoder = load_encoder(args.model)
    drawn = random.Random(0)
    for stored, asked in runs(entries, drawn):
        line = measured(encoder, args.model, folder, entries, stored, asked)
        print(json.dumps(line), flush=True)


def translated(folder: Path) -> list[dict[str, str]]:
    """Return the test pictures' captions in four languages, and as "other" one of the English
    captions that were not translated."""
    images = json.loads((folder / "dataset.json").read_text(encoding="utf8"))["images"]
    captions = {i["filename"]: [s["raw"] for s in i["sentences"]] for i in images}
    with gzip.open(folder / "multi30k_translations.json.gz", "rt", encoding="utf8") as file:
        entries = [e for e in json.load(file) if e["flickr8k_split"] == "test"]
    for entry in entries:
        same = letters(entry["en"])
        entry["other"] = next(c for c in captions[entry["filename"]] if letters(c) != same)
    return entries


def letters(text: str) -> str:
    return "".join(re.findall(r"\w", text)).lower()


def runs(
    entries: list[dict[str, str]], drawn: random.Random
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield which caption is stored, and what is asked under which name."""
    yield "other", {code: [e[code] for e in entries] for code in LANGUAGES}
    for code in LANGUAGES:
        words = [re.findall(r"\w{4,}", e[code]) for e in entries]
        asked = {"three words": [" ".join(drawn.sample(w, min(3, len(w)))) for w in words]}
        if code != "en":
            asked["en"] = [e["en"] for e in entries]
        yield code, asked


def measured(
    encoder: Encoder, model: str, folder: Path, entries: list[dict[str, str]], stored: str,
    asked: dict[str, list[str]],
) -> dict[str, Any]:  # fmt: skip
    keys = [str(folder / e["filename"]) for e in entries]
    captions = {key: (e[stored],) for key, e in zip(keys, entries, strict=True)}
    found = read(str(folder / "dataset.json"), split="test")
    samples = [
        replace(s, captions=captions[s.item.key])
        for s in found
        if isinstance(s, Sample) and s.item.key in captions
    ]
    with tempfile.TemporaryDirectory() as home, Store.open(home, create=True) as store:
        pictures = store.create_collection("default", encoder.space, model=model)
        ingest(samples, encoder, pictures)
        engine = Engine(pictures, encoder)
        return {"stored": stored} | {
            name: figures(engine, list(zip(texts, keys, strict=True)), WAYS)
            for name, texts in asked.items()
        }


if __name__ == "__main__":
    main()
