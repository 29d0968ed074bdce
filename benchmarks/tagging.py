"""How well `mmsearch tag` tags: labels against the captions of Flickr8k's test pictures.

    python benchmarks/tagging.py ../shared/data --model starter

A picture has a label where one of its five captions names it (for precision), and certainly where
two do (for recall). Captions do not name all that is there, so the precision is a lower bound.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path

import numpy as np

from index_store import Store
from mmsearch import ingest, load_encoder, read
from mmsearch.organise.contents import read_contents
from mmsearch.organise.tagging import tag

LABELS = {
    "dog": r"\bdogs?\b", "beach": r"\bbeach", "snow": r"\bsnow", "water": r"\bwater\b",
    "bicycle": r"\b(?:bicycle|bike|cycl|biker)", "grass": r"\bgrass", "street": r"\bstreet",
    "child": r"\b(?:child|kid|boy|girl|toddler|baby)", "football": r"\b(?:football|soccer)\b",
    "motorcycle": r"\b(?:motorcycle|motorbike|dirt ?bike|motocross)", "car": r"\bcars?\b",
    "skateboard": r"\bskate ?board", "swimming pool": r"\bpool\b", "horse": r"\bhorses?\b",
    "rock climbing": r"\bclimb", "basketball": r"\bbasketball", "mountain": r"\bmountain",
    "surfing": r"\bsurf", "crowd": r"\bcrowd", "tennis": r"\btennis",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--store", type=Path, help="where they are indexed already")
    args = parser.parse_args()
    folder = (args.data / "flickr8k").resolve()
    images = json.loads((folder / "dataset.json").read_text())["images"]
    captions = {str(folder / i["filename"]): [s["raw"].lower() for s in i["sentences"]]
                for i in images if i["split"] == "test"}  # fmt: skip
    encoder = load_encoder(args.model)
    with (
        tempfile.TemporaryDirectory() as home,
        Store.open(args.store or home, create=True) as store,
    ):
        if args.store:
            pictures = store.collection("default")
        else:
            pictures = store.create_collection("default", encoder.space, model=args.model)
            ingest(read(str(folder / "dataset.json"), split="test"), encoder, pictures)
        contents = read_contents(pictures)
        for strictness in (1.5, 2.0, 2.5, 3.0, 3.5):
            tagging = tag(contents, encoder, list(LABELS), strictness=strictness)
            found = {t.item.key: set(t.scores) for t in tagging.pictures}
            print(json.dumps({"strictness": strictness, "threshold": round(tagging.threshold, 3),
                              **judged(found, captions)}))  # fmt: skip


def judged(found: dict[str, set[str]], captions: dict[str, list[str]]) -> dict[str, float]:
    """Return precision and recall over all labels together, and the mean F1 of the labels."""
    right = wrong = hit = missed = 0
    f1 = []
    for label, pattern in LABELS.items():
        told = {k: sum(bool(re.search(pattern, c)) for c in cs) for k, cs in captions.items()}
        has = {k for k, tags in found.items() if label in tags}
        sure = {k for k, n in told.items() if n >= 2}
        good = sum(told[k] > 0 for k in has)
        right, wrong = right + good, wrong + len(has) - good
        hit, missed = hit + len(sure & has), missed + len(sure - has)
        precision, recall = good / max(len(has), 1), len(sure & has) / max(len(sure), 1)
        f1.append(2 * precision * recall / max(precision + recall, 1e-9))
    return {"precision": round(right / max(right + wrong, 1), 3),
            "recall": round(hit / max(hit + missed, 1), 3),
            "mean F1": round(float(np.mean(f1)), 3)}  # fmt: skip


if __name__ == "__main__":
    main()
