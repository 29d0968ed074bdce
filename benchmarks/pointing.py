"""Do the heat-maps of `mmsearch explain` point at what a phrase names? The pointing game.

    python -m benchmarks.pointing ../shared/data --model starter --split test --pictures 250

Zhang et al. 2016 (arXiv:1608.00507, section 4.1): a hit is a map whose highest point lies in a box
of the phrase, without any tolerance. Flickr30k Entities' boxes (Plummer et al. 2015) of
Flickr8k's pictures, as far as they have any; a phrase of a picture counts once. Beside it, on the
same phrases: the centre of the picture, and a random point (its exact chance). The interval is a
bootstrap over pictures. "small" are phrases whose boxes together cover less than a quarter.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmsearch import load_encoder, open_picture
from mmsearch.explaining.heatmap import Heatmap, heatmaps
from mmsearch.types import Array, Encoder

PHRASE = re.compile(r"\[/EN#(\d+)/(\S+) ([^\]]+)\]")
RESAMPLES = 2000
SMALL = 0.25
FULL = 1000  # points are told in thousandths of the picture
CENTRE = 4.0  # chosen on val


class Phrase(NamedTuple):
    """What a caption names. boxes: (n, 4), left, top, right, bottom in parts of the picture."""

    text: str
    sort: str
    boxes: Array

    def holds(self, point: tuple[int, int]) -> bool:
        """Return whether a point of a picture of FULL x FULL lies in one of the boxes."""
        x, y = point[0] / FULL, point[1] / FULL
        left, top, right, bottom = self.boxes.T
        return bool(((left <= x) & (x <= right) & (top <= y) & (y <= bottom)).any())

    def covered(self) -> float:
        """Return which part of the picture the boxes cover together."""
        y, x = (np.mgrid[:200, :200] + 0.5) / 200
        inside = np.zeros(x.shape, bool)
        for left, top, right, bottom in self.boxes:
            inside |= (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
        return float(inside.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--split", default="test")
    parser.add_argument("--pictures", type=int, default=250)
    parser.add_argument("--centre", type=float, default=CENTRE, help="weight of the prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    phrases = read_phrases(args.data / "flickr8k", args.split, args.pictures, args.seed)
    encoder = load_encoder(args.model, threads=args.threads)
    began = time.perf_counter()
    hits = played(encoder, phrases, args.centre)
    took = (time.perf_counter() - began) / len(phrases)
    flat = [phrase for named in phrases.values() for phrase in named]
    owner = np.array([n for n, named in enumerate(phrases.values()) for _ in named])
    chance = np.array([phrase.covered() for phrase in flat])
    sorts = np.array([phrase.sort for phrase in flat])
    parts = {"all": np.ones(len(flat), bool), "small": chance < SMALL}
    parts |= {f"of {sort}": sorts == sort for sort in sorted(set(sorts))}
    report = {
        "model": encoder.space.name, "split": args.split, "pictures": len(phrases),
        "centre weight": args.centre, "seed": args.seed,
        "s a picture": round(took, 2),
    }  # fmt: skip
    for name, which in parts.items():
        chosen = {way: hit[which].astype(float) for way, hit in hits.items()}
        report[name] = told(chosen, owner[which], 100 * float(chance[which].mean()), args.seed)
    print(json.dumps(report))


def played(encoder: Encoder, phrases: dict[Path, list[Phrase]], centre: float) -> dict[str, Array]:
    """Return, for each way to point, which phrases it hits."""
    hits: dict[str, list[bool]] = {"centre": [], "map": [], "map and centre": []}
    for path, named in phrases.items():
        image = open_picture(path).image
        found = heatmaps(encoder, image, [p.text for p in named])
        for phrase, heatmap in zip(named, found, strict=True):
            points = {
                "centre": (FULL // 2, FULL // 2),
                "map": heatmap.peak((FULL, FULL)),
                "map and centre": with_centre(heatmap, centre).peak((FULL, FULL)),
            }
            for way, point in points.items():
                hits[way].append(phrase.holds(point))
    return {way: np.array(hit) for way, hit in hits.items()}


def told(hits: dict[str, Array], owner: Array, chance: float, seed: int) -> dict[str, Any]:
    """Return the accuracy of each way, and how far it is above the centre's."""
    report: dict[str, Any] = {"phrases": len(owner), "random": round(chance, 1)}
    for way, hit in hits.items():
        report[way] = accuracy(hit, owner, seed)
        if way != "centre":
            report[way]["above centre"] = accuracy(hit - hits["centre"], owner, seed)
    return report


def read_phrases(folder: Path, split: str, pictures: int, seed: int) -> dict[Path, list[Phrase]]:
    """Return the phrases that have boxes, of some pictures of a split, chosen by the seed."""
    with gzip.open(folder / "flickr30k_entities.jsonl.gz", "rt", encoding="utf8") as file:
        rows = [
            row for line in file if (row := json.loads(line))["filename"].startswith(f"{split}/")
        ]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:pictures]
    found = {}
    for row in (rows[n] for n in sorted(chosen.tolist())):
        scale = np.array(row["orig_size"] * 2, float)
        said = {(entity, text.lower()): sort for sentence in row["sentences"]
                for entity, sort, text in PHRASE.findall(sentence)}  # fmt: skip
        named = [Phrase(text, sort.partition("/")[0], np.array(row["boxes"][entity]) / scale)
                 for (entity, text), sort in said.items() if entity in row["boxes"]]  # fmt: skip
        if named:
            found[folder / row["filename"]] = named
    return found


def with_centre(heatmap: Heatmap, weight: float) -> Heatmap:
    """Return the map in deviations, less weight x the squared distance from the centre."""
    rows, columns = heatmap.values.shape
    y, x = np.mgrid[:rows, :columns]
    far = ((x + 0.5) / columns - 0.5) ** 2 + ((y + 0.5) / rows - 0.5) ** 2
    spread = float(heatmap.values.std()) or 1.0
    return replace(heatmap, values=heatmap.values / spread - weight * far)


def accuracy(hit: Array, owner: Array, seed: int) -> dict[str, Any]:
    """Return a mean in per cent and its 95 % interval, a bootstrap over pictures."""
    owner = np.unique(owner, return_inverse=True)[1]
    n = int(owner.max()) + 1
    sums, counts = np.bincount(owner, hit, minlength=n), np.bincount(owner, minlength=n)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    low, high = np.percentile(100 * (drawn @ sums) / (drawn @ counts), [2.5, 97.5])
    return {"value": round(100 * float(hit.mean()), 1),
            "ci95": [round(float(low), 1), round(float(high), 1)]}  # fmt: skip


if __name__ == "__main__":
    main()
