"""Retrieval figures of paired pictures and captions, from vectors or from pixels. No torch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mmsearch.types import Encoder

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a Karpathy-style set: paths of n pictures, and the captions of each."""

    name: str
    paths: list[Path]
    captions: list[list[str]]


def read_split(data: Path, name: str) -> Split:
    """Return the pictures of one split in the order of dataset.json.

    Raises:
        OSError: there is no readable dataset.json.
        KeyError: it is not in the Karpathy style.
    """
    images = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["images"]
    chosen = [entry for entry in images if entry["split"] == name]
    return Split(
        name,
        [data / entry["filename"] for entry in chosen],
        [[sentence["raw"] for sentence in entry["sentences"]] for entry in chosen],
    )


def first_ranks(scores: Array, relevant: Array) -> npt.NDArray[np.int64]:
    """Return, for each query, the 1-based rank of its best-placed relevant candidate.

    Ties count against the query: a model that scores everything alike gets the last rank.

    Args:
        scores: (queries, candidates), higher is better.
        relevant: same shape, bool; at least one True in each row.

    Raises:
        ValueError: the shapes differ, a row has no relevant candidate, or a score is NaN.
    """
    if scores.shape != relevant.shape:
        raise ValueError(f"scores have shape {scores.shape}, relevant has {relevant.shape}")
    if not relevant.any(1).all():
        raise ValueError("a query has no relevant candidate")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    ranks: npt.NDArray[np.int64] = ((scores >= best) & ~relevant).sum(1) + 1
    return ranks


def figures(ranks: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return R@1, R@5, R@10 (per cent of queries with a hit in the top k) and the median rank.

    R@k is the CLIP papers' hit rate: one relevant candidate in the top k is a whole hit.
    """
    shown = {f"R@{k}": round(float((ranks <= k).mean()) * 100, 2) for k in (1, 5, 10)}
    return {**shown, "median_rank": float(np.median(ranks))}


def both_ways(images: Array, texts: Array, owner: Array) -> dict[str, dict[str, float]]:
    """Return the figures of text->image and of image->text, scored by inner product.

    Args:
        images: (n, dim) unit rows.
        texts: (m, dim) unit rows.
        owner: (m,) the row of the picture that each text describes.

    Raises:
        ValueError: a picture has no text, or a vector is NaN.
    """
    scores = texts @ images.T
    relevant = owner[:, None] == np.arange(len(images))[None, :]
    return {
        "text_to_image": figures(first_ranks(scores, relevant)),
        "image_to_text": figures(first_ranks(scores.T, relevant.T)),
    }


def measure(encoder: Encoder, split: Split) -> dict[str, Any]:
    """Return figures both ways, and speeds, of an encoder over a split: end to end, from files.

    images_per_s counts decoding, preparing and encoding in one thread of Python; texts_per_s
    tokenizing and encoding.

    Raises:
        OSError: a picture cannot be read.
        MmsearchError: a picture is refused, or the model is not available.
    """
    from mmsearch.images import open_picture

    captions = [caption for own in split.captions for caption in own]
    owner = np.repeat(np.arange(len(split.paths)), [len(own) for own in split.captions])
    encoder.encode_texts(captions[:1])  # the session's load is no part of the speed
    start = time.perf_counter()
    texts = np.concatenate([encoder.encode_texts(part) for part in _parts(captions, 32)])
    text_s = time.perf_counter() - start
    first = open_picture(split.paths[0], target=encoder.image_size).image
    encoder.encode_images(np.stack([encoder.prepare(first)]))
    start = time.perf_counter()
    rows = []
    for part in _parts(split.paths, 8):
        pictures = [open_picture(path, target=encoder.image_size).image for path in part]
        rows.append(encoder.encode_images(np.stack([encoder.prepare(p) for p in pictures])))
    image_s = time.perf_counter() - start
    return {
        "pictures": len(split.paths),
        "captions": len(captions),
        **both_ways(np.concatenate(rows), texts, owner),
        "images_per_s": round(len(split.paths) / image_s, 1),
        "texts_per_s": round(len(captions) / text_s, 1),
    }


def table(result: dict[str, Any]) -> str:
    """Return the figures of `measure` as lines fit to print."""
    lines = [f"{'':16}{'R@1':>7}{'R@5':>7}{'R@10':>7}  median rank"]
    for way in ("text_to_image", "image_to_text"):
        shown = result[way]
        hits = "".join(f"{shown[f'R@{k}']:7.1f}" for k in (1, 5, 10))
        lines.append(f"{way.replace('_to_', ' -> '):16}{hits}  {shown['median_rank']:g}")
    return "\n".join(lines)


def _parts(rows: list[Any], size: int) -> list[list[Any]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
