"""ViLT, fine-tuned for VQA: one transformer over the question's words and the picture's patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import ViltForQuestionAnswering

from mmsearch.answering import Answer
from mmsearch.answering.labels import best_labels, labels_of
from mmsearch.encoders.pretrained import Loaded, load, refusals

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.regions import Regions


class Vilt:
    """The best of a fixed list of answers; a score is the answer's own sigmoid."""

    needs_regions = False

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._labels = labels_of(loaded)

    def answer(
        self, image: Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        """Return the k likeliest answers. Raises as `Answerer.answer`."""
        del regions
        with refusals(self._loaded.folder):
            given = self._loaded.inputs(
                images=image, text=question, truncation=True,
                max_length=self._loaded.model.config.max_position_embeddings,
            )  # fmt: skip
            scores = self._loaded.model(**given).logits[0].float().sigmoid()
        return best_labels(scores.tolist(), self._labels, k)


def open_vilt(argument: str, *, threads: int | None, device: str | None) -> Vilt:
    """Return the answerer of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no ViLT for question answering.
    """
    return Vilt(load(ViltForQuestionAnswering, argument, spec="vilt:", model_type="vilt",
                     threads=threads, device=device))  # fmt: skip
