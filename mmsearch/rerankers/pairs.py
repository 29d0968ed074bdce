"""Pairs of a text and a picture, judged together by a model of transformers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from index_store.types import Vectors
from mmsearch.encoders.pretrained import Loaded, refusals
from mmsearch.encoders.weights import hash_files, remembered
from mmsearch.rerankers.places import Place, place_of_item, place_of_query
from mmsearch.types import Item, Query

KEPT_BYTES = 2 << 30  # of pictures in memory: 2,400 of BLIP-base's, 0.9 MB each

Tensors = dict[str, torch.Tensor]
Seen = Any  # what a family keeps of a picture: mostly Tensors, with one row


class Matcher(Protocol):
    """One family: how a text and a picture become tensors, and what the model says of them."""

    loaded: Loaded

    def pair(self, text: str, seen: Seen) -> Tensors:
        """Return one pair's tensors. Those of several pairs are joined along their first axis."""
        ...

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds that text and picture belong together."""
        ...


Eye = Callable[[Sequence[Place]], "list[Seen | None]"]


class PairReranker:
    """A family behind the protocol `Reranker`. Not for two threads at once.

    Pairs are made one by one, and those whose tensors have the same shapes run together: nothing
    is padded, so a pair's score does not depend on its neighbours.

    Args:
        family: for the name.
        matcher: of the family.
        eye: returns what the family keeps of each picture; None where it cannot be had.
        weights: the files that the name is a hash of; None: the folder's *.safetensors.
    """

    def __init__(
        self, family: str, matcher: Matcher, eye: Eye, weights: Sequence[Path] | None = None
    ) -> None:
        self.name = name_of(family, matcher.loaded.folder, weights)
        self.weight: float | None = None  # nobody has measured it for this family's weights
        self._matcher, self._eye = matcher, eye
        self._kept: OrderedDict[tuple[str, str], tuple[Seen | None, int]] = OrderedDict()

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        """Return (n,) float32 log-odds, NaN where a picture cannot be had or both are of one
        kind.

        Raises:
            ModelUnavailable: the model refuses its input: its files do not fit together.
            BadRegions: the regions of a picture are damaged, or another picture's or detector's.
        """
        scores = np.full(len(items), np.nan, np.float32)
        of = "image" if query.text is not None else "text"
        rows = [i for i, item in enumerate(items) if item.kind == of]
        if query.text is not None:
            seen = self._seen([place_of_item(items[i]) for i in rows])
            texts = [query.text] * len(rows)
        else:
            seen = self._seen([place_of_query(query)] if rows else []) * len(rows)
            texts = [items[i].text for i in rows]
        there = [n for n, one in enumerate(seen) if one is not None]
        if there:
            with refusals(self._matcher.loaded.folder):
                made = [self._matcher.pair(texts[n], seen[n]) for n in there]
                scores[[rows[n] for n in there]] = self._judged(made)
        return scores

    def _judged(self, pairs: Sequence[Tensors]) -> Vectors:
        """Return (n,) log-odds, pairs of the same shapes by one call of the model."""
        found = np.empty(len(pairs), np.float32)
        for rows in _alike(pairs):
            joined = {name: torch.cat([pairs[n][name] for n in rows]) for name in pairs[rows[0]]}
            found[rows] = self._matcher.odds(joined).float().cpu().numpy()
        return found

    def _seen(self, places: Sequence[Place]) -> list[Seen | None]:
        """Return what the family keeps of each picture; None where it cannot be had."""
        new = [p for p in places if p.key is None or p.key not in self._kept]
        with refusals(self._matcher.loaded.folder):
            made = self._eye(new) if new else []
        fresh = {id(p): one for p, one in zip(new, made, strict=True)}
        found = [
            fresh[id(p)] if p.key is None or id(p) in fresh else self._known(p.key) for p in places
        ]
        for place, one in zip(new, made, strict=True):
            if place.key is not None:
                self._kept[place.key] = one, _size(one)
        total = sum(size for _, size in self._kept.values())
        while total > KEPT_BYTES:
            total -= self._kept.popitem(last=False)[1][1]
        return found

    def _known(self, key: tuple[str, str]) -> Seen | None:
        self._kept.move_to_end(key)
        return self._kept[key][0]


def _alike(pairs: Sequence[Tensors]) -> Iterable[list[int]]:
    """Yield the rows of pairs whose tensors have the same names and shapes."""
    groups: dict[Any, list[int]] = {}
    for n, pair in enumerate(pairs):
        shapes = tuple(sorted((name, tuple(value.shape)) for name, value in pair.items()))
        groups.setdefault(shapes, []).append(n)
    return groups.values()


def _size(seen: Seen | None) -> int:
    """Return the bytes that it takes in memory."""
    if seen is None:
        return 0
    if isinstance(seen, dict):
        return sum(int(value.nbytes) for value in seen.values())
    width, height = seen.size  # a picture as it is
    return int(3 * width * height)


class WordsAndRegions:
    """A model's side of a pair: the text's tokens, and what a detector saw."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    def pair(self, text: str, seen: Any) -> Tensors:
        """Return the text's tokens and the picture's regions."""
        positions = self.loaded.model.config.max_position_embeddings
        return {**tokens_of(self.loaded, text, positions), **seen}


def name_of(family: str, folder: Path, weights: Sequence[Path] | None = None) -> str:
    """Return a re-ranker's name: its family and the hash of these files, else of the folder's
    *.safetensors."""
    files = list(weights or sorted(folder.glob("*.safetensors")))
    known = remembered(files, lambda: hash_files(files, root=folder), salt="reranker")
    return f"{family}/{known}"


def tokens_of(loaded: Loaded, text: str, positions: int) -> Tensors:
    """Return input_ids and attention_mask, (1, length) each, cut to what the model takes.

    Args:
        loaded: its processor is a tokenizer, or has one.
        text: in the model's language.
        positions: the most that the model has.
    """
    tokenizer = getattr(loaded.processor, "tokenizer", loaded.processor)
    most = min(positions, tokenizer.model_max_length)
    made = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
    return loaded.moved({name: made[name] for name in ("input_ids", "attention_mask")})


def log_odds(logits: torch.Tensor, *, match: int) -> torch.Tensor:
    """Return (n,) log-odds of the class `match` out of (n, 2) logits."""
    return logits[:, match] - logits[:, 1 - match]
