"""What each part of the `fusion` re-ranker earns: three fusions, hard negatives, masked words.

    python benchmarks/fusion_ablation.py ../shared/data --out DIR --tokens DIR
    python benchmarks/fusion_ablation.py ../shared/data --out DIR --only joint concat

Each is trained as `mmsearch train flickr8k/dataset.json --stage rerank --lr 2e-4 --epochs 1
--seed 1` with one thing changed, from the same aligned heads, which are trained once. Weights are
chosen on the validation split, figures are of the test split. Three scores are told apart: the
fused part alone (the order of the candidates by nothing else), the cosine plus the fused part,
and the whole: cosine, aligned heads, fused part. A line of JSON each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmsearch.encoders.tapped import InnerEncoder
from mmsearch.train.figures import figures
from mmsearch.train.fusion_model import Fusion, Given
from mmsearch.train.guard import difference
from mmsearch.train.measure import Ranks
from mmsearch.train.pairs import Ids, Pairs, read_pairs
from mmsearch.train.rerank_align import align, set_aligning
from mmsearch.train.rerank_config import RerankConfig
from mmsearch.train.rerank_data import RerankSet
from mmsearch.train.rerank_loop import RerankTrainer
from mmsearch.train.rerank_measure import Reranked, base_ranks, best_mix, rerank
from mmsearch.train.rerank_run import RerankJob, new_net, open_base, read_tokens
from mmsearch.train.rerank_words import MaskedWords

# What is changed; concat fuses whole texts and so has no masked words.
VARIANTS: dict[str, dict[str, Any]] = {
    "cross": {},
    "joint": {"fusion": "joint"},
    "concat": {"fusion": "concat", "mlm_weight": 0.0},
    "cross, random negatives": {"hard_negatives": 0},
    "cross, no masked words": {"mlm_weight": 0.0},
}
FUSED_WEIGHTS = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2)  # beside the cosine
HEADS = ("image_head", "text_head", "pooled_scale")
TIMED = 50  # queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="for the heads, shared by all")
    parser.add_argument("--tokens", type=Path, help="as for mmsearch train --tokens")
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--captions", type=int, default=2, help="of each test picture")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = RerankConfig(epochs=args.epochs, lr=2e-4, seed=1)
    source = str(args.data / "flickr8k" / "dataset.json")
    train, val, test = (read_pairs(source, split=name) for name in ("train", "val", "test"))
    inner = open_base("starter", threads=args.threads)

    def tokens(first: Pairs, second: Pairs, config: RerankConfig) -> Any:
        job = RerankJob("starter", args.out, first, second, source, config,
                        tokens=args.tokens or args.out / "tokens")  # fmt: skip
        return read_tokens(job, inner, lambda line: print(line, flush=True))

    learnt, chosen_on, given = tokens(train, val, config)
    judged_on = tokens(test, test, replace(config, cache_views=0))[0]
    heads = aligned_heads(args.out / "heads.pt", config, given, learnt)
    for name in args.only:
        changed = replace(config, **VARIANTS[name])
        net = new_net(changed, given)
        net.load_state_dict(heads, strict=False)
        began = time.perf_counter()
        fit(net, changed, learnt, inner, args.out / name.replace(", ", "-").replace(" ", "-"))
        seconds = round(time.perf_counter() - began)
        line = {"name": name, "model": inner.encoder.space.name, "trained s": seconds,
                **judged(net, chosen_on, judged_on, args.captions)}  # fmt: skip
        print(json.dumps(line), flush=True)


def aligned_heads(path: Path, config: RerankConfig, given: Given, data: RerankSet) -> Any:
    """Return the weights of the heads: they depend on the seed, not on the fusion."""
    if not path.exists():
        net = new_net(config, given)
        align(net, data, epochs=config.align_epochs, seed=config.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = net.state_dict()
        kept = {k: v for k, v in state.items() if k.split(".")[0] in HEADS}
        torch.save(kept, path)
    return torch.load(path, weights_only=True)


def fit(
    net: Fusion, config: RerankConfig, data: RerankSet, inner: InnerEncoder, folder: Path
) -> None:
    """Train the fusion; the weights after the last step are taken, averaged."""
    folder.mkdir(parents=True, exist_ok=True)
    set_aligning(net, False)
    words = MaskedWords(inner, data.words, config.width) if config.mlm_weight else None
    newest = itertools.count()
    trainer = RerankTrainer(
        net, data, words, config, folder=folder, evaluate=lambda: float(next(newest)),
        identity=repr(config),
    )  # fmt: skip
    if not trainer.begun:
        trainer.start()
    trainer.run()


def judged(net: Fusion, val: RerankSet, test: RerankSet, captions: int) -> dict[str, Any]:
    """Return the figures of the three scores on the test split, weights chosen on val."""
    chosen, rows = captions_of(val, 1), captions_of(test, captions)
    before_val, before = base_ranks(val), base_ranks(test)
    on_val = rerank(net, val, chosen, 50)
    found = rerank(net, test, rows, 50)
    mix, _ = best_mix(on_val, val, before_val, 1)
    beside = max(
        FUSED_WEIGHTS,
        key=lambda w: float((1 / fused_only(on_val).ranks(val, before_val, w, 1)).mean()),
    )
    own = replace(fused_only(found), base=np.zeros_like(found.base))
    scores = {
        "fused alone": own.ranks(test, before, 1, 1),
        "cosine + fused": fused_only(found).ranks(test, before, beside, 1),
        "cosine + heads": found.ranks(test, before, best_weight(on_val, val, before_val), 0),
        "whole": found.ranks(test, before, mix.weight, mix.share),
    }
    base = Ranks(before.text_to_image[rows], before.image_to_text, before.owner[rows])
    out: dict[str, Any] = {"queries": len(rows), "dual encoder": figures(base.text_to_image)}
    for name, ranks in scores.items():
        new = Ranks(ranks, base.image_to_text, base.owner)
        change = {f"R@{k}": asdict(difference(base, new, k)) for k in (1, 5, 10)}
        out[name] = {**figures(ranks), "change": change}
    named = [(n.split(".")[0], p.numel()) for n, p in net.named_parameters()]
    # Of concat's tokens, which are built all the same, nothing depends on.
    whole = net.shape.fusion != "concat"
    trained = sum(n for name, n in named if name == "pair" or (whole and name not in HEADS))
    return {**out, "weight": mix.weight, "share": mix.share, "weight of fused": beside,
            "parameters of the fusion": trained, "ms of 50 pairs": pair_ms(net, test)}  # fmt: skip


def captions_of(data: RerankSet, n: int) -> Ids:
    """Return the rows of the first n captions of each picture."""
    counts = [len(row.captions) for row in data.pairs.rows]
    starts = np.cumsum([0, *counts[:-1]])
    return np.concatenate(
        [np.arange(s, s + min(n, c)) for s, c in zip(starts, counts, strict=True)]
    )


def fused_only(found: Reranked) -> Reranked:
    """Return the same without what the heads say."""
    return replace(found, aligned=np.zeros_like(found.aligned))


def best_weight(found: Reranked, data: RerankSet, before: Ranks) -> float:
    """Return the best weight of the heads alone, by R@1 and then by the mean reciprocal rank."""
    none = replace(found, fused=np.zeros_like(found.fused))
    return best_mix(none, data, before, 1)[0].weight


def pair_ms(net: Fusion, data: RerankSet) -> float:
    """Return the median of one query with 50 pictures, both encoded alone already, in ms."""
    net.eval()
    took = []
    with torch.inference_mode():
        pictures = net.pictures(data.plain(slice(0, 50)))
        for row in range(TIMED):
            text = net.texts(*data.words.batch([row]))
            began = time.perf_counter()
            net.fused(text, pictures)
            took.append(1000 * (time.perf_counter() - began))
    return round(float(np.median(took)), 1)


if __name__ == "__main__":
    main()
