"""How well `mmsearch tag` tags: labels against captions and classes of pictures.

    python benchmarks/tagging.py ../shared/data --model starter
    python benchmarks/tagging.py ../shared/data --set rsicd

flickr8k: a picture has a label where one of its five captions names it (for precision), and
certainly where two do (for recall). rsicd, aerial pictures: certainly where it is their class, and
perhaps where a caption names it. Neither names all that is there, so the precision is a lower
bound. fashion, one product a picture: where it is the product's type. The default strictness was
chosen on the test pictures of flickr8k.
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


# Classes of RSICD: as a label, and the words of a caption that name it.
CLASSES = {
    "bridge": ("bridge", r"\bbridge"), "airport": ("airport", r"\b(?:airport|runway)"),
    "pond": ("pond", r"\bponds?\b"), "viaduct": ("viaduct", r"\bviaduct"),
    "river": ("river", r"\briver"), "beach": ("beach", r"\bbeach"),
    "storagetanks": ("storage tanks", r"\btanks?\b"),
    "industrial": ("industrial area", r"\b(?:industr|factor)"),
    "parking": ("parking lot", r"\bparking"), "port": ("port", r"\b(?:port|harbou?r)\b"),
    "farmland": ("farmland", r"\bfarm"), "playground": ("playground", r"\bplayground"),
    "commercial": ("commercial area", r"\bcommercial"), "park": ("park", r"\bpark\b"),
    "mountain": ("mountain", r"\bmountain"), "square": ("square", r"\bsquare"),
    "bareland": ("bare land", r"\bbare"), "desert": ("desert", r"\bdesert"),
    "school": ("school", r"\bschool"), "resort": ("resort", r"\bresort"),
    "stadium": ("stadium", r"\bstadium"), "baseballfield": ("baseball field", r"\bbaseball"),
    "meadow": ("meadow", r"\bmeadow"), "railwaystation": ("railway station", r"\brailway"),
    "forest": ("forest", r"\bforest"), "church": ("church", r"\bchurch"),
    "denseresidential": ("residential area", r"\bresident"),
    "mediumresidential": ("residential area", r"\bresident"),
    "sparseresidential": ("residential area", r"\bresident"),
}  # fmt: skip
PRODUCTS = {
    "t-shirt": {"Tshirts"}, "shirt": {"Shirts"}, "watch": {"Watches"}, "belt": {"Belts"},
    "sandals": {"Sandals"}, "flip flops": {"Flip Flops"}, "wallet": {"Wallets"},
    "high heels": {"Heels"}, "handbag": {"Handbags"}, "socks": {"Socks"}, "tie": {"Ties"},
    "shoes": {"Sports Shoes", "Casual Shoes", "Formal Shoes"}, "sunglasses": {"Sunglasses"},
    "sweatshirt": {"Sweatshirts"}, "sweater": {"Sweaters"}, "jeans": {"Jeans"}, "cap": {"Caps"},
}  # fmt: skip
Told = dict[str, dict[str, int]]  # by picture and label: 0 no, 1 perhaps, from 2 on certainly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--set", choices=["flickr8k", "rsicd", "fashion"], default="flickr8k")
    parser.add_argument("--split", default="test")
    parser.add_argument("--store", type=Path, help="where they are indexed already")
    args = parser.parse_args()
    dataset = (args.data / args.set / "dataset.json").resolve()
    told = labelled(args.set, dataset, args.split)
    labels = list(next(iter(told.values())))
    encoder = load_encoder(args.model)
    with (
        tempfile.TemporaryDirectory() as home,
        Store.open(args.store or home, create=True) as store,
    ):
        if args.store:
            pictures = store.collection("default")
        else:
            pictures = store.create_collection("default", encoder.space, model=args.model)
            ingest(read(str(dataset), split=args.split), encoder, pictures)
        contents = read_contents(pictures)
        for strictness in (1.5, 2.0, 2.5, 3.0, 3.5):
            tagging = tag(contents, encoder, labels, strictness=strictness)
            found = {t.item.key: set(t.scores) for t in tagging.pictures}
            print(json.dumps({"set": args.set, "split": args.split, "pictures": len(told),
                              "labels": len(labels), "model": encoder.space.name,
                              "strictness": strictness, "threshold": round(tagging.threshold, 3),
                              **judged(found, told)}))  # fmt: skip


def labelled(name: str, dataset: Path, split: str) -> Told:
    """Return how sure each label is of each picture, by the picture's key."""
    told: Told = {}
    for entry in json.loads(dataset.read_text())["images"]:
        if entry["split"] != split:
            continue
        captions = [s["raw"].lower() for s in entry["sentences"]]
        if name == "flickr8k":
            own = {label: named(p, captions) for label, p in LABELS.items()}
        elif name == "rsicd":
            own = {label: min(named(p, captions), 1) for label, p in CLASSES.values()}
            if entry["category"] in CLASSES:
                own[CLASSES[entry["category"]][0]] = 2
        else:
            kind = entry["attributes"]["articleType"]
            own = {label: 2 * (kind in kinds) for label, kinds in PRODUCTS.items()}
        told[str(dataset.parent / entry["filename"])] = own
    return told


def named(pattern: str, captions: list[str]) -> int:
    return sum(bool(re.search(pattern, caption)) for caption in captions)


def judged(found: dict[str, set[str]], told: Told) -> dict[str, float]:
    """Return precision and recall over all labels together, and the mean F1 of the labels."""
    right = wrong = hit = missed = 0
    f1 = []
    for label in next(iter(told.values())):
        has = {k for k, tags in found.items() if label in tags}
        sure = {k for k, own in told.items() if own[label] >= 2}
        good = sum(told[k][label] > 0 for k in has)
        right, wrong = right + good, wrong + len(has) - good
        hit, missed = hit + len(sure & has), missed + len(sure - has)
        precision, recall = good / max(len(has), 1), len(sure & has) / max(len(sure), 1)
        f1.append(2 * precision * recall / max(precision + recall, 1e-9))
    return {"precision": round(right / max(right + wrong, 1), 3),
            "recall": round(hit / max(hit + missed, 1), 3),
            "mean F1": round(float(np.mean(f1)), 3)}  # fmt: skip


if __name__ == "__main__":
    main()
