"""Figures of captions; the libraries do the counting, these say that they are asked rightly."""

from __future__ import annotations

import math

import pytest

from mmsearch.caption_metrics import caption_figures

pytest.importorskip("sacrebleu")
pytest.importorskip("pycocoevalcap")


def test_bleu_is_the_mean_of_the_precisions() -> None:
    # "a dog runs fast": words 3 of 4 are right, pairs 2 of 3, triples 1 of 2, none of the fours
    found = caption_figures(["A dog runs fast"], [["a dog runs away", "two dogs"]])
    assert found["BLEU-1"] == pytest.approx(75)
    assert found["BLEU-2"] == pytest.approx(100 * math.sqrt(3 / 4 * 2 / 3))
    assert found["BLEU-3"] == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2) ** (1 / 3))
    assert found["BLEU-4"] == 0.0


def test_a_caption_that_is_a_reference_has_the_best_figures() -> None:
    written = ["a brown dog runs over the grass", "two men play chess"]
    right = [["A brown dog runs over the grass.", "a dog"], ["two men play chess!"]]
    found = caption_figures([w + "." for w in written], [[*r] for r in right])
    assert found["chrF"] > 90
    # as the only reference: 10 for the words of both pictures
    alone = caption_figures(written, [[w] for w in written])
    assert alone["BLEU-4"] == pytest.approx(100)
    assert alone["chrF"] == pytest.approx(100)
    assert alone["CIDEr"] == pytest.approx(10)


def test_a_picture_without_references_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a reference"):
        caption_figures(["a dog"], [[]])
