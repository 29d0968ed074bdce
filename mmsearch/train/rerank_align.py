"""The first part of a re-ranker: its heads, aligned by contrast over large batches.

Pooled tokens of frozen towers are worked out once, so an epoch is a second or two, and a batch of
hundreds of pictures has negatives enough. ALBEF's reason, too (arXiv:2107.07651): aligned
tokens are far easier to fuse.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mmsearch.train.fusion_model import Fusion
from mmsearch.train.heads import info_nce, same_captions
from mmsearch.train.rerank_data import RerankSet

BATCH, RATE, DECAY, WARMUP = 500, 1e-3, 0.1, 50
PICTURES_AT_ONCE = 100


def pooled_pictures(net: Fusion, data: RerankSet) -> Tensor:
    """Return (views, n, features)."""
    made = []
    with torch.no_grad():
        for views in data.maps:
            for maps in views.maps:
                parts = [
                    net.picture_features(
                        torch.from_numpy(maps[i : i + PICTURES_AT_ONCE].astype(np.float32))
                    )
                    for i in range(0, len(maps), PICTURES_AT_ONCE)
                ]
                made.append(torch.cat(parts))
    return torch.stack(made)


def mean_words(data: RerankSet) -> Tensor:
    """Return (m, word_width)."""
    words = data.words
    sums = np.add.reduceat(words.hidden, words.starts[:-1], axis=0, dtype=np.float32)
    return torch.from_numpy(sums / np.diff(words.starts)[:, None].astype(np.float32))


def align(net: Fusion, data: RerankSet, *, epochs: int, seed: int) -> None:
    """Train the heads alone; views and captions are drawn anew for every picture and epoch."""
    pictures, texts = pooled_pictures(net, data), mean_words(data)
    rows, groups = data.opened, torch.from_numpy(data.pairs.groups)
    starts = np.cumsum([0, *(len(row.captions) for row in data.pairs.rows)])
    size = min(BATCH, len(rows))
    per_epoch = len(rows) // size
    steps = per_epoch * epochs
    trained = [*net.image_head.parameters(), *net.text_head.parameters(), net.pooled_scale]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=DECAY)
    rng = np.random.default_rng([seed, 2])
    torch.manual_seed(seed)
    set_aligning(net, True)
    net.train()
    for step in range(steps):
        at = step % per_epoch
        if at == 0:
            order = rng.permutation(rows)
        part = order[at * size : (at + 1) * size]
        rise = min(1, (step + 1) / min(WARMUP, steps))
        optimizer.param_groups[0]["lr"] = RATE * rise * (1 + math.cos(math.pi * step / steps)) / 2
        captions = rng.integers(starts[part], starts[part + 1])
        views = torch.from_numpy(rng.integers(len(pictures), size=size))
        seen = net.image_head(pictures[views, torch.from_numpy(part)])
        told = net.text_head(texts[torch.from_numpy(captions)])
        loss = info_nce(seen, told, scale=net.scale(), same=same_captions(groups[part]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    set_aligning(net, False)
    net.eval()


def set_aligning(net: Fusion, on: bool) -> None:
    """Let the heads learn, or freeze them."""
    for part in (net.image_head, net.text_head):
        part.requires_grad_(on)
    net.pooled_scale.requires_grad_(on)
