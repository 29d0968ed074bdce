"""An honest "there is nothing": from which score on a hit stands out of a collection's background.

Something is always the best hit, and how high it scores depends on model and collection. So a
bank of questions about things that hardly any collection holds is asked of this one, and their
best scores tell what chance reaches here. A hit counts from the quantile on that nine in ten of
such questions do not reach.

A collection that holds a picture of everything (emoji) has most of the bank after all, and would
ask too much of a hit. So of a model that was measured no more is asked than was best there.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np

from index_store import Collection
from index_store.types import Vectors
from mmsearch.files import write_whole
from mmsearch.types import Encoder

BANK = Path(__file__).with_name("absent.txt")
# Chosen on Flickr8k's validation pictures (docs/queries.md).
QUANTILE = 0.9
FEWEST = 100  # pictures; the best of fewer tells little of what chance reaches
_LOW, _MIDDLE = 0.25, 0.5
# The best thresholds on Flickr8k's validation pictures, by `benchmarks/cutoff.py`.
MEASURED = {"starter-4/1c9ffe078177": 0.47}


def threshold(encoder: Encoder, collection: Collection, *, quantile: float = QUANTILE) -> float:
    """Return the score from which on a picture is a hit of a text, for this collection."""
    found = collection.search(bank_vectors(encoder), 1, kind="image")
    chance = gumbel_quantile([matches[0].score for matches in found if matches], quantile)
    return min(chance, MEASURED.get(encoder.space.name, chance))


def gumbel_quantile(maxima: list[float], quantile: float) -> float:
    """Return the score that this part of the maxima does not reach.

    Fitted to their lower half: a collection may well hold some of what is asked, and these
    maxima, the highest, are not of its background.
    """
    # The largest of many scores follows Gumbel's law: Q(p) = location - scale * ln(-ln p)
    # (Coles, An Introduction to Statistical Modeling of Extreme Values, section 3.1).
    low, middle = np.quantile(maxima, [_LOW, _MIDDLE])
    scale = (middle - low) / (_reduced(_MIDDLE) - _reduced(_LOW))
    return float(middle + scale * (_reduced(quantile) - _reduced(_MIDDLE)))


def bank_vectors(encoder: Encoder) -> Vectors:
    """Return (questions, dim) unit rows of the bank; from the user's cache if it has them."""
    from platformdirs import user_cache_path

    text = BANK.read_text(encoding="utf8")
    name = hashlib.blake2b(f"{encoder.space}\n{text}".encode(), digest_size=16).hexdigest()
    path = user_cache_path("mmsearch", appauthor=False) / "cutoff" / f"{name}.npy"
    questions = [line for line in text.splitlines() if line and not line.startswith("#")]
    try:
        rows = np.load(path)
        if rows.shape == (len(questions), encoder.space.dim) and rows.dtype == np.float32:
            return rows  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: made anew
    rows = encoder.encode_texts(questions)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: np.save(file, rows))
    except OSError:
        pass  # a cache that cannot be written costs half a second a search
    return rows


def _reduced(quantile: float) -> float:
    return -math.log(-math.log(quantile))
