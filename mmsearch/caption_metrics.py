"""How good written captions are: BLEU, chrF and CIDEr over a whole set, by the usual libraries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mmsearch.errors import MissingExtra

ORDERS = (1, 2, 3, 4)
_WORD = re.compile(r"\w+(?:['-]\w+)*")


def caption_figures(written: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return BLEU-1 to BLEU-4 and chrF (0 to 100), and CIDEr (0 to 10).

    BLEU is sacrebleu's over the whole set, its 13a tokens in lower case, no smoothing. CIDEr
    is pycocoevalcap's with words in lower case and without punctuation, where the COCO
    evaluation has Stanford's tokeniser; its document frequencies are of these references.

    Args:
        written: one caption a picture.
        right: the references of each picture; their number may differ.

    Raises:
        MissingExtra: sacrebleu or pycocoevalcap is not installed.
        ValueError: no captions, a picture without a reference, or another number of pictures.
    """
    if not written or len(written) != len(right) or not all(right):
        raise ValueError("each of at least one caption needs a reference")
    try:
        from pycocoevalcap.cider.cider import Cider
        from sacrebleu.metrics import BLEU, CHRF
    except ModuleNotFoundError as error:
        raise MissingExtra(f"figures of captions ({error.name})", "answers") from error
    columns = _columns(right)
    figures = {}
    for n in ORDERS:
        # Papineni et al. 2002: the geometric mean of the precisions up to n, and brevity.
        metric = BLEU(max_ngram_order=n, lowercase=True, smooth_method="none")
        figures[f"BLEU-{n}"] = float(metric.corpus_score(list(written), columns).score)
    # Popovic 2015: character n-grams up to 6, beta 2.
    figures["chrF"] = float(CHRF(lowercase=True).corpus_score(list(written), columns).score)
    numbers = range(len(written))
    # arXiv:1411.5726, CIDEr-D with its factor of 10.
    score, _ = Cider().compute_score(
        {n: [_words(text) for text in right[n]] for n in numbers},
        {n: [_words(written[n])] for n in numbers},
    )
    return {**figures, "CIDEr": float(score)}


def _columns(right: Sequence[Sequence[str]]) -> list[list[Any]]:
    """Return each picture's first reference, then each one's second ...; None for none."""
    most = max(len(texts) for texts in right)
    return [[texts[n] if n < len(texts) else None for texts in right] for n in range(most)]


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))
