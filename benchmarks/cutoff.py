"""Does `--min-score auto` know when there is nothing? Beside the best fixed threshold.

    python benchmarks/cutoff.py ../shared/data/flickr8k/dataset.json --fit val --split test

Three sorts of questions about the pictures of one split: (a) their own captions; (b) what they do
not show (benchmarks/absent.txt, and captions of other sets); (c) the captions again, each with its
picture taken out of the collection. The fixed threshold is the best for (a) and (b) on the split
`--fit` of the first data set; `auto` has seen no caption of any. Nothing is drawn at random.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from index_store import Collection, Item, Store
from mmsearch.composing import BACKGROUND, background
from mmsearch.cutoff import QUANTILE, bank_vectors, gumbel_quantile, threshold
from mmsearch.encoders import load_encoder
from mmsearch.images import open_picture
from mmsearch.pipeline import batched
from mmsearch.types import Encoder, Vectors

ABSENT = Path(__file__).with_name("absent.txt")
CAPTIONS = 2  # of each picture


def entries(path: Path, split: str) -> list[dict[str, Any]]:
    images = json.loads(path.read_text("utf8"))["images"]
    return [image for image in images if image["split"] == split]


def stored(path: Path, split: str, encoder: Encoder, store: Store) -> Collection:
    collection = store.create_collection(f"{path.parent.name}-{split}", encoder.space, model="")
    for batch in batched(entries(path, split), 16):
        opened = (open_picture(path.parent / e["filename"], target=encoder.image_size)
                  for e in batch)  # fmt: skip
        arrays = np.stack([encoder.prepare(picture.image) for picture in opened])
        collection.add([Item(e["filename"]) for e in batch], encoder.encode_images(arrays))
    return collection


def embedded(texts: list[str], encoder: Encoder) -> Vectors:
    return np.concatenate([encoder.encode_texts(part) for part in batched(texts, 64)])


def best(rows: Vectors, collection: Collection, without: list[str] | None = None) -> Any:
    """Return the best score of each question; `without`: the one picture it may not find."""
    found = collection.search(rows, 2)
    taken = without or [""] * len(rows)
    return np.array([
        next(m.score for m in matches if m.item.key != out)
        for matches, out in zip(found, taken, strict=True)
    ])  # fmt: skip


def measured(
    path: Path, split: str, others: list[str], encoder: Encoder, store: Store
) -> dict[str, Any]:
    """Return the best scores of (a), (b) and (c), and the threshold of auto."""
    collection = stored(path, split, encoder, store)
    pairs = [(e["filename"], s["raw"]) for e in entries(path, split)
             for s in e["sentences"][:CAPTIONS]]  # fmt: skip
    rows = embedded([text for _, text in pairs], encoder)
    absent = embedded(lines(ABSENT), encoder)
    sample = collection.sample("image", BACKGROUND)
    scores = {"a": best(rows, collection), "absent": best(absent, collection),
              "others": best(embedded(others, encoder), collection),
              "c": best(rows, collection, [name for name, _ in pairs])}  # fmt: skip
    # The design's first idea, for comparison: deviations above this question's own background.
    grounds = {"a": rows, "absent": absent}
    deviations = {
        name: np.array([(s - g.mean) / g.deviation for s, g in zip(
            scores[name], (background(r, sample) for r in some), strict=True)])
        for name, some in grounds.items()
    }  # fmt: skip
    found = collection.search(bank_vectors(encoder), 1)
    bank = gumbel_quantile([matches[0].score for matches in found], QUANTILE)
    return {"scores": scores, "auto": threshold(encoder, collection), "bank": bank,
            "auc": {"score": auc(scores["a"], scores["absent"]),
                    "deviations": auc(deviations["a"], deviations["absent"])}}  # fmt: skip


def auc(high: Any, low: Any) -> float:
    """Return how often a score of `high` is above one of `low`."""
    return float((high[:, None] > low[None]).mean())


def fixed(scores: dict[str, Any]) -> float:
    nothing = np.concatenate([scores["absent"], scores["others"]])
    candidates = np.linspace(0, 1, 1001)
    return float(max(
        candidates, key=lambda t: (scores["a"] >= t).mean() + (nothing < t).mean()
    ))  # fmt: skip


def figures(scores: dict[str, Any], at: float) -> dict[str, float]:
    """Return recall of "there is something" on (a), and what is right of "there is nothing"."""
    nothing = np.concatenate([scores["absent"], scores["others"]])
    refused = float((nothing < at).mean())
    wrongly = float((scores["a"] < at).mean())
    # As if as many questions had an answer as had none.
    precision = refused / (refused + wrongly) if refused + wrongly else 0.0
    return {"threshold": round(at, 3), "a_found": round(1 - wrongly, 3),
            "absent_refused": round(float((scores["absent"] < at).mean()), 3),
            "others_refused": round(float((scores["others"] < at).mean()), 3),
            "nothing_precision": round(precision, 3), "nothing_recall": round(refused, 3),
            "c_refused": round(float((scores["c"] < at).mean()), 3)}  # fmt: skip


def lines(path: Path) -> list[str]:
    return [x for x in path.read_text("utf8").splitlines() if x and not x.startswith("#")]


def captions_of(paths: list[Path], split: str) -> Iterator[str]:
    for path in paths:
        for entry in entries(path, split)[:100]:
            yield entry["sentences"][-1]["raw"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", type=Path, help="the first also fits")
    parser.add_argument("--others", nargs="*", type=Path, default=[], help="sets for (b)")
    parser.add_argument("--fit", default="val", metavar="SPLIT")
    parser.add_argument("--fixed", type=float, help="the fixed threshold, instead of --fit")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    encoder = load_encoder(args.model, threads=args.threads)
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder), create=True) as store:

        def run(path: Path, split: str) -> dict[str, Any]:
            others = [o for o in args.others if o != path]
            return measured(path, split, list(captions_of(others, split)), encoder, store)

        best_fixed, known = args.fixed, {}
        if best_fixed is None:
            known[args.datasets[0], args.fit] = run(args.datasets[0], args.fit)
            best_fixed = fixed(known[args.datasets[0], args.fit]["scores"])
        for path in args.datasets:
            found = known.get((path, args.split)) or run(path, args.split)
            for name, at in (
                ("auto", found["auto"]),
                ("bank alone", found["bank"]),
                ("fixed", best_fixed),
            ):
                line = {"set": path.parent.name, "split": args.split, "cut-off": name,
                        "quantile": QUANTILE, **figures(found["scores"], at)}  # fmt: skip
                print(json.dumps(line), flush=True)
            print(json.dumps({"set": path.parent.name, "auc": found["auc"]}), flush=True)


if __name__ == "__main__":
    main()
