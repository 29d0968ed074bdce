"""Tags for pictures by the names of the tags alone (zero-shot)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from index_store import Item
from index_store.scan import decode
from mmsearch.errors import BadQuery
from mmsearch.organise.contents import Contents
from mmsearch.organise.naming import read_words
from mmsearch.types import Encoder
from mmsearch.uris import check_texts

# Against which a label has to stand out: robust standard deviations above what everyday words
# score on this collection's pictures. On Flickr8k: docs/organise.md.
STRICTNESS = 2.5
# The sentence that CLIP's authors use, and the one that suits what the starter was trained on.
PROMPT, STARTERS = "a photo of a {}", "there is a {}"
BLOCK = 8_192
_SAMPLE = 5_000  # pictures that the background is taken from


@dataclass(frozen=True, slots=True)
class Tagged:
    """A picture and those of the labels that fit it, with their scores."""

    item: Item
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Tagging:
    """threshold: the cosine from which a label fits. pictures: those with a label, by key."""

    threshold: float
    pictures: tuple[Tagged, ...]


def tag(
    contents: Contents, encoder: Encoder, labels: Sequence[str], *,
    strictness: float = STRICTNESS, prompt: str = "",
) -> Tagging:  # fmt: skip
    """Return which labels fit which pictures.

    Args:
        labels: words or phrases, in the model's language.
        strictness: how far above the background a score must be, in its robust standard
            deviations; higher: fewer tags, and surer ones.
        prompt: the sentence that a label stands in; {} is the label. Default: one that suits
            the model.

    Raises:
        BadQuery: no label, or a prompt without {}; a text that is no Unicode.
    """
    check_texts([*labels, prompt])
    labels = list(dict.fromkeys(label.strip() for label in labels if label.strip()))
    if not labels:
        raise BadQuery("there is no label to tag by")
    prompt = prompt or (STARTERS if encoder.space.name.startswith("starter") else PROMPT)
    if "{}" not in prompt:
        raise BadQuery(f"the prompt has no {{}} for the label: {prompt!r}")
    threshold = _threshold(contents, encoder, strictness, prompt)
    asked = encoder.encode_texts([prompt.replace("{}", label) for label in labels])
    found = []
    for start in range(0, len(contents.items), BLOCK):
        scores = decode(contents.rows[start : start + BLOCK]) @ asked.T
        for n in np.flatnonzero((scores >= threshold).any(1)).tolist():
            fit = np.flatnonzero(scores[n] >= threshold)
            best = fit[np.argsort(-scores[n, fit], kind="stable")].tolist()
            told = {labels[i]: float(scores[n, i]) for i in best}
            found.append(Tagged(contents.items[start + n], told))
    return Tagging(threshold, tuple(found))


def _threshold(contents: Contents, encoder: Encoder, strictness: float, prompt: str) -> float:
    """Return the cosine from which a text stands out of this collection's background.

    The background: everyday words with a sample of the pictures. Most do not fit, so median and
    median deviation are those of texts that do not fit; every model and collection has its own.
    """
    if not contents.items:
        return 0.0
    drawn = np.random.default_rng(0).permutation(len(contents.items))[:_SAMPLE]
    words = encoder.encode_texts([prompt.replace("{}", word) for word in read_words()])
    scores: npt.NDArray[np.float32] = decode(contents.rows[np.sort(drawn)]) @ words.T
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(np.abs(scores - middle)))  # as a standard deviation
    return middle + strictness * spread


def changed(contents: Contents, tagging: Tagging, *, keep: bool) -> Iterator[Item]:
    """Yield the items whose `tags` in the meta differ from what was found, with the new ones.

    Args:
        keep: leave the tags that are there and add to them; else they are replaced.
    """
    found = {t.item.key: list(t.scores) for t in tagging.pictures}
    for item in contents.items:
        there = tags_of(item)
        new = found.get(item.key, [])
        new = list(dict.fromkeys([*there, *new])) if keep else new
        if new != there:
            meta = {k: v for k, v in item.meta.items() if k != "tags"}
            yield replace(item, meta=meta | ({"tags": new} if new else {}))


def tags_of(item: Item) -> list[str]:
    """Return the tags that mmsearch wrote."""
    tags = item.meta.get("tags")
    return list(tags) if isinstance(tags, list) else []
