"""Answers of a model that chooses among a fixed list."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.answering import Answer
from mmsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    from mmsearch.encoders.pretrained import Loaded


def labels_of(loaded: Loaded) -> list[str]:
    """Return the model's answers by number.

    Raises:
        ModelUnavailable: its config has no list of answers, only numbers.
    """
    config = loaded.model.config
    labels = [str(config.id2label[n]) for n in range(len(config.id2label))]
    if all(label == f"LABEL_{n}" for n, label in enumerate(labels)):
        raise ModelUnavailable(
            f"{loaded.folder}/config.json lacks id2label, the answers that the model chooses from"
        )
    return labels


def best_labels(scores: Sequence[float], labels: Sequence[str], k: int) -> list[Answer]:
    """Return the k best answers; of equal ones the first.

    Raises:
        ModelUnavailable: there are more scores than answers, or fewer.
    """
    if len(scores) != len(labels):
        raise ModelUnavailable(f"a model gives {len(scores)} scores for {len(labels)} answers")
    best = heapq.nsmallest(k, range(len(scores)), key=lambda n: (-scores[n], n))
    return [Answer(labels[n], float(scores[n])) for n in best]
