"""Names for groups of pictures: words that a model finds in them, or words of their captions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from index_store import Collection, Compare
from index_store.types import Vectors
from mmsearch.errors import BadSource
from mmsearch.types import Encoder

WORDS = Path(__file__).with_name("words.txt")
PROMPT = "a photo of {}"
TERMS = 3  # words in a name
_WORD = re.compile(r"[^\W\d_]{3,}")
# Words that say nothing of a picture. Captions of other languages lose theirs by being frequent
# in every group.
_STOP = frozenset((
    "the", "and", "are", "with", "from", "his", "her", "its", "their", "has", "have", "for",
    "that", "this", "there", "who", "two", "three", "several", "some", "into", "onto", "over",
    "under", "while", "through", "near", "next", "other", "another", "one", "each", "front",
    "behind", "being", "was", "were", "she", "they", "them", "him", "out", "off", "down", "all",
    "about", "around", "another", "along", "something", "very", "wearing", "looking",
    "standing", "holding", "sitting", "large", "small",
))  # fmt: skip


def read_words(path: Path = WORDS) -> list[str]:
    """Return the words of a file, one a line, each once; empty lines and # lines are left out.

    Raises:
        BadSource: it cannot be read, is no UTF-8, or holds no word.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadSource(f"{path}: {error}") from error
    words = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not words:
        raise BadSource(f"{path}: there is no word in it")
    return words


def captions_of(collection: Collection) -> dict[str, list[str]]:
    """Return the stored captions of each picture that has some, by the picture's key."""
    captions: dict[str, list[str]] = {}
    for item in collection.get(collection.keys(Compare("kind", "=", "text"))):
        if isinstance(picture := item.meta.get("picture"), str):
            captions.setdefault(picture, []).append(item.text)
    return captions


def names_by_words(encoder: Encoder, centres: Vectors, words: Sequence[str]) -> list[str]:
    """Return a name for each group: the words that fit its centre better than they fit others'.

    Args:
        centres: (groups, dim) unit rows.
        words: what may be in pictures.
    """
    scores = centres @ encoder.encode_texts([PROMPT.format(word) for word in words]).T
    # A word that fits everything says nothing; one that fits nothing much must not win by noise.
    scores = scores - 0.5 * scores.mean(0)
    best = np.argsort(-scores, axis=1)[:, :TERMS]
    return _distinct([" ".join(words[w] for w in row) for row in best.tolist()])


def names_by_captions(captions: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each group: the words that set its captions apart from the others'; ""
    where it has none.

    Args:
        captions: those of each group's pictures.
    """
    counts = [
        Counter(w for text in texts for w in _WORD.findall(text.lower()) if w not in _STOP)
        for texts in captions
    ]
    everywhere: Counter[str] = Counter()
    for count in counts:
        everywhere.update(count)
    mean = sum(everywhere.values()) / max(len(counts), 1)
    names = []
    for count in counts:
        total = max(sum(count.values()), 1)
        # Class-based TF-IDF (Grootendorst 2022, arXiv:2203.05794, eq. 2): tf * log(1 + A / f);
        # squared here, or the most frequent words of all captions win.
        weight = {w: n / total * np.log1p(mean / everywhere[w]) ** 2 for w, n in count.items()}
        names.append(" ".join(_terms(sorted(weight, key=lambda w: (-weight[w], w)))))
    return _distinct(names)


def _terms(ranked: Sequence[str]) -> list[str]:
    """Return the first words; of such as "dog", "dogs" and "grass", "grassy" the better one."""
    chosen: list[str] = []
    for word in ranked:
        if not any(word.startswith(c) or c.startswith(word) for c in chosen):
            chosen.append(word)
        if len(chosen) == TERMS:
            break
    return chosen


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names, a number after the second and further ones that are alike."""
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        seen[name] += 1
        out.append(name if seen[name] == 1 or not name else f"{name} {seen[name]}")
    return out
