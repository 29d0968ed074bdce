"""LXMERT, fine-tuned for question answering: two streams, words and a detector's regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, LxmertForQuestionAnswering

from mmsearch.answering import Answer
from mmsearch.answering.labels import best_labels, labels_of
from mmsearch.encoders.pretrained import Loaded, load, refusals
from mmsearch.errors import BadRegions

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.regions import Regions


class Lxmert:
    """The best of a fixed list of answers; a score is the softmax over them."""

    needs_regions = True

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._labels = labels_of(loaded)

    def answer(
        self, image: Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        """Return the k likeliest answers. Raises as `Answerer.answer`."""
        if regions is None:
            raise BadRegions("LXMERT looks at regions: give a file of them (docs/answers.md)")
        width = self._loaded.model.config.visual_feat_dim
        if regions.features.shape[1] != width:
            raise BadRegions(
                f"the regions in {regions.path} have {regions.features.shape[1]} features, the "
                f"model takes {width}: they are another detector's"
            )
        boxes = regions.relative(image.size)
        with refusals(self._loaded.folder):
            given = self._loaded.inputs(
                text=question, truncation=True,
                max_length=self._loaded.model.config.max_position_embeddings,
            )  # fmt: skip
            seen = self._loaded.moved(
                {
                    "visual_feats": torch.from_numpy(regions.features)[None],
                    "visual_pos": torch.from_numpy(boxes)[None],
                }
            )
            made = self._loaded.model(**given, **seen)
            scores = made.question_answering_score[0].float().softmax(0)
        return best_labels(scores.tolist(), self._labels, k)


def open_lxmert(argument: str, *, threads: int | None, device: str | None) -> Lxmert:
    """Return the answerer of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no LXMERT for question answering.
    """
    return Lxmert(load(LxmertForQuestionAnswering, argument, spec="lxmert:", model_type="lxmert",
                       threads=threads, device=device, processor=AutoTokenizer))  # fmt: skip
