"""Do scores agree with people? Kendall's tau with the human judgements of Flickr8k's test split.

    python benchmarks/human_judgements.py ../shared/data --model starter --reranker fusion

As in CLIPScore (Hessel et al. 2021, arXiv:2104.08718, section 4.1): tau-c with all three ratings
of each pair of the expert set (1 to 4), one after the other; tau-b with the share of yes in the
CrowdFlower set; pairs of a picture with its own caption are left out (`--own` keeps them). The
interval is a bootstrap over pictures, the same draws for both scores. No reference caption is used.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from mmsearch import Item, Query, load_encoder, open_picture
from mmsearch.reranking import load_reranker
from mmsearch.types import Encoder, Reranker

Floats = npt.NDArray[np.float64]
AT_ONCE = 16


class Judged(NamedTuple):
    """Judged pairs. picture, caption: rows. ratings: (n, judges)."""

    picture: npt.NDArray[np.int64]
    caption: npt.NDArray[np.int64]
    ratings: Floats


class Texts(NamedTuple):
    """Pictures (paths) and captions by number."""

    paths: list[Path]
    captions: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--reranker", help="compared with the model alone, as in fusion")
    parser.add_argument("--own", action="store_true", help="keep pairs with a picture's own")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    folder = args.data / "flickr8k"
    texts, sets = read_judgements(folder, own=args.own)
    encoder = load_encoder(args.model, threads=args.threads)
    cosines = all_cosines(encoder, texts)
    reranker = (
        load_reranker(args.reranker, args.model, threads=args.threads) if args.reranker else None
    )
    out: dict[str, Any] = {"model": encoder.space.name, "seed": args.seed,
                           "resamples": args.resamples, "own captions": args.own}  # fmt: skip
    if reranker:
        out["reranker"], out["weight"] = reranker.name, reranker.weight
    for name, (judged, variant) in sets.items():
        scores = {"cosine": cosines[judged.picture, judged.caption].astype(float)}
        if reranker:
            again = reranked(reranker, texts, judged)
            scores["re-ranker alone"] = again
            scores["re-ranked"] = scores["cosine"] + (reranker.weight or 1.0) * again
        out[name] = agreement(judged, scores, variant, args.resamples, args.seed)
    print(json.dumps(out))


def read_judgements(folder: Path, *, own: bool) -> tuple[Texts, dict[str, tuple[Judged, str]]]:
    """Return the test split's texts, and each set of judgements with its kind of tau."""
    images = json.loads((folder / "dataset.json").read_text(encoding="utf8"))["images"]
    images = [image for image in images if image["split"] == "test"]
    rows = {image["orig_filename"]: n for n, image in enumerate(images)}
    captions = [s["raw"] for image in images for s in image["sentences"]]
    first = np.cumsum([0, *(len(image["sentences"]) for image in images)])
    sets = {}
    for name, variant in (("ExpertAnnotations", "c"), ("CrowdFlowerAnnotations", "b")):
        with gzip.open(folder / f"{name}.txt.gz", "rt", encoding="utf8") as file:
            found = [line.split() for line in file]
        found = [f for f in found if own or f[0] != f[1].partition("#")[0]]
        said = [f[1].partition("#") for f in found]
        # CrowdFlower's lines go on with counts of yes and no; the share stands before them.
        ratings = [f[2:5] if variant == "c" else f[2:3] for f in found]
        judged = Judged(
            np.array([rows[f[0]] for f in found]),
            np.array([first[rows[picture]] + int(n) for picture, _, n in said]),
            np.array(ratings, float),
        )
        sets[name] = judged, variant
    return Texts([folder / image["filename"] for image in images], captions), sets


def all_cosines(encoder: Encoder, texts: Texts) -> npt.NDArray[np.float32]:
    """Return (pictures, captions)."""
    parts = []
    for start in range(0, len(texts.paths), AT_ONCE):
        some = texts.paths[start : start + AT_ONCE]
        opened = [open_picture(p, target=encoder.image_size).image for p in some]
        parts.append(encoder.encode_images(np.stack([encoder.prepare(i) for i in opened])))
    return np.concatenate(parts) @ encoder.encode_texts(texts.captions).T


def reranked(reranker: Reranker, texts: Texts, judged: Judged) -> Floats:
    """Return the re-ranker's score of each pair."""
    of: dict[int, list[int]] = defaultdict(list)
    for n, caption in enumerate(judged.caption.tolist()):
        of[caption].append(n)
    scores = np.empty(len(judged.caption))
    for caption, pairs in of.items():
        paths = [str(texts.paths[judged.picture[n]]) for n in pairs]
        items = [Item(path, "image", path) for path in paths]
        scores[pairs] = reranker.score(Query(texts.captions[caption]), items)
    return scores


def agreement(
    judged: Judged, scores: dict[str, Floats], variant: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Return tau x 100 of each score, and of each its difference to the first, with 95 %
    intervals."""
    by_picture = [np.flatnonzero(judged.picture == n) for n in np.unique(judged.picture)]
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(resamples):
        rows = np.concatenate(
            [by_picture[n] for n in rng.integers(len(by_picture), size=len(by_picture))]
        )
        for name, score in scores.items():
            drawn[name].append(tau(score[rows], judged.ratings[rows], variant))
    out: dict[str, Any] = {"pairs": len(judged.picture), "pictures": len(by_picture),
                           "judgements": judged.ratings.size, "tau": variant}  # fmt: skip
    base = next(iter(scores))
    for name, score in scores.items():
        out[name] = interval(tau(score, judged.ratings, variant), np.array(drawn[name]))
        if name != base:
            change = np.array(drawn[name]) - np.array(drawn[base])
            out[name]["change"] = interval(out[name]["value"] - out[base]["value"], change)
    return out


def tau(scores: Floats, ratings: Floats, variant: str) -> float:
    """Return Kendall's tau x 100 of (n,) scores with (n, judges) ratings."""
    flat = np.repeat(scores, ratings.shape[1])
    return 100 * float(kendalltau(flat, ratings.ravel(), variant=variant).statistic)


def interval(value: float, drawn: Floats) -> dict[str, Any]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": round(value, 2), "ci95": [round(float(low), 2), round(float(high), 2)]}


if __name__ == "__main__":
    main()
