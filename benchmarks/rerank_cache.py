"""What the cache of picture tokens saves a second question, and what it costs the first. JSON.

    OMP_NUM_THREADS=1 python -m benchmarks.rerank_cache ../shared/data
    OMP_NUM_THREADS=1 python -m benchmarks.rerank_cache ../shared/data --blip WORK --candidates 10

Flickr8k's test pictures; each question is a caption, its candidates the best by the starter. Each
is asked three times, by a re-ranker that has nothing in memory: without a cache, with an empty one,
and, with other words, with what that left. Processor seconds of looking at the candidates, loading
apart: each re-ranker has first looked at another picture. The re-ranker is the shipped `fusion`, or
with --blip a BLIP of transformers' own class and of base size (384 px, 224 M weights) whose weights
are random: times are those of a real one, scores tell nothing. It is written to WORK (0.9 GB).
`change`: of a candidate's score by the tokens' half precision, beside the scores' spread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch import Item, Query, load_encoder, read
from mmsearch.images import open_picture
from mmsearch.rerankers.token_cache import TokenCache
from mmsearch.reranking import AT_ONCE, load_reranker
from mmsearch.types import Reranker

LIMIT = 10**10
WORDS = (
    "a two man dog dogs child girl boy in on the of with red blue white running water snow grass"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--blip", type=Path, metavar="WORK")
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--questions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    spec = f"blip:{random_blip(args.blip, args.seed)}" if args.blip else "fusion"
    samples = [*read(str((args.data / "flickr8k" / "dataset.json").resolve()), split="test")]
    rng = np.random.default_rng(args.seed)
    asked = rng.choice(len(samples), args.questions, replace=False).tolist()
    texts = [samples[n].captions[:2] for n in asked]  # type: ignore[union-attr]
    found = best(samples, [text for text, _ in texts], args.candidates + 1)
    rows: list[dict[str, float]] = []
    for (first, second), items in zip(texts, found, strict=True):
        with tempfile.TemporaryDirectory() as home:
            rows.append(question(spec, Path(home), first, second, items))
    total = {name: round(sum(row[name] for row in rows), 3) for name in rows[0]}
    means = {name: total[name] / len(rows) for name in ("bytes_a_picture", "spread")}
    changed = {"change": max(row["change"] for row in rows)} if args.blip else {}
    ratios = {
        "first_by_without": round(total["first_s"] / total["without_s"], 3),
        "again_by_without": round(total["again_s"] / total["without_s"], 4),
    }
    told = {"spec": spec.partition(":")[0], "questions": args.questions, "seed": args.seed,
            "candidates": args.candidates}  # fmt: skip
    print(json.dumps(told | total | means | changed | ratios, indent=2))


def question(spec: str, home: Path, text: str, other: str, items: Sequence[Item]) -> dict[str, Any]:
    """Return the figures of one question. items: the first is for loading alone."""
    ready, *items = items

    def fresh(cache: bool) -> Reranker:
        made = TokenCache(LIMIT, root=home / "cache") if cache else None
        reranker = load_reranker(spec, "starter", threads=1, device="cpu", cache=made)
        reranker.score(Query(text), [ready])
        return reranker

    # First with the cache, then without: the files are in memory for neither or for both.
    for item in items:
        open_picture(item.uri)
    with_cache = fresh(True)
    first_s, first = looked(with_cache, text, items)
    without_s, without = looked(fresh(False), text, items)
    again_s, again = looked(fresh(True), other, items)
    size = sum(p.stat().st_size for p in (home / "cache").rglob("*") if p.is_file())
    _, plain = looked(fresh(False), other, items)
    if not (np.array_equal(first, without) and np.array_equal(again, plain)):
        raise SystemExit("the cache changes scores")
    return {
        "without_s": without_s, "first_s": first_s, "again_s": again_s,
        "bytes_a_picture": size / (len(items) + 1), "spread": float(np.std(without)),
        "change": change(with_cache, text, items) if spec.startswith("blip") else 0.0,
    }  # fmt: skip


def looked(reranker: Reranker, text: str, items: Sequence[Item]) -> tuple[float, np.ndarray]:
    """Return processor seconds and scores, so many at once as a search looks at."""
    began = time.process_time()
    parts = [
        reranker.score(Query(text), items[n : n + AT_ONCE]) for n in range(0, len(items), AT_ONCE)
    ]
    return time.process_time() - began, np.concatenate(parts)


def change(reranker: Any, text: str, items: Sequence[Item]) -> float:
    """Return the largest difference to the scores by patches that were never rounded."""
    import torch

    blip = reranker._matcher
    exact = []
    with torch.inference_mode():
        for item in items:
            pixels = blip.look(open_picture(item.uri, target=384).image)
            patches = blip.loaded.model.vision_model(**pixels).last_hidden_state
            exact.append(blip.odds(blip.pair(text, {"patches": patches})).item())
    return float(np.abs(np.array(exact) - looked(reranker, text, items)[1]).max())


def best(samples: Sequence[Any], texts: Sequence[str], k: int) -> list[list[Item]]:
    """Return the best pictures of each text."""
    encoder = load_encoder("starter", threads=1)
    prepared = np.stack(
        [encoder.prepare(open_picture(s.path, target=encoder.image_size).image) for s in samples]
    )
    pictures = np.concatenate(
        [encoder.encode_images(prepared[n : n + 16]) for n in range(0, len(prepared), 16)]
    )
    order = np.argsort(-encoder.encode_texts(texts) @ pictures.T, axis=1)[:, :k]
    return [[Item(samples[n].path, "image", samples[n].path) for n in row] for row in order]


def random_blip(work: Path, seed: int) -> Path:
    """Write a BLIP of base size with random weights, if it is not there, and return its folder."""
    import torch
    import transformers as tf

    folder = work / "blip-base-random"
    if (folder / "model.safetensors").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = tf.BlipConfig(vision_config={"image_size": 384, "patch_size": 16})
    model = tf.BlipForImageTextRetrieval(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.04)
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()])
    )
    tokenizer = tf.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=512)
    images = tf.BlipImageProcessor(size={"height": 384, "width": 384})
    tf.BlipProcessor(images, tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
