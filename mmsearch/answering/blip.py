"""BLIP: answers and captions that a decoder writes while it looks at the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import BlipForConditionalGeneration, BlipForQuestionAnswering

from mmsearch.answering import Answer
from mmsearch.encoders.pretrained import Loaded, load, refusals

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.regions import Regions

BEAMS = 3
ANSWER_TOKENS, CAPTION_TOKENS = 12, 40


class BlipAnswerer:
    """Free answers; a score is the decoder's mean probability of a token."""

    needs_regions = False

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def answer(
        self, image: Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        """Return k different answers of one beam search. Raises as `Answerer.answer`."""
        del regions
        with refusals(self._loaded.folder):
            given = self._loaded.inputs(images=image, text=question, truncation=True)
            made = self._loaded.model.generate(
                **given, num_beams=max(k, BEAMS), num_return_sequences=k,
                max_new_tokens=ANSWER_TOKENS, output_scores=True, return_dict_in_generate=True,
            )  # fmt: skip
            texts = self._loaded.processor.batch_decode(made.sequences, skip_special_tokens=True)
            scores = made.sequences_scores.float().exp().tolist()
        answers: dict[str, Answer] = {}
        for text, score in zip(texts, scores, strict=True):
            answers.setdefault(text.strip(), Answer(text.strip(), score))
        return list(answers.values())


class BlipCaptioner:
    """Captions by beam search."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def captions(self, images: Sequence[Image]) -> list[str]:
        """Return a caption for each picture. Raises as `Captioner.captions`."""
        with refusals(self._loaded.folder):
            given = self._loaded.inputs(images=list(images))
            made = self._loaded.model.generate(
                **given, num_beams=BEAMS, max_new_tokens=CAPTION_TOKENS
            )
            texts = self._loaded.processor.batch_decode(made, skip_special_tokens=True)
        return [text.strip() for text in texts]


def open_blip_answerer(argument: str, *, threads: int | None, device: str | None) -> BlipAnswerer:
    """Return the answerer of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no BLIP for question answering.
    """
    return BlipAnswerer(load(BlipForQuestionAnswering, argument, spec="blip:", model_type="blip",
                             threads=threads, device=device))  # fmt: skip


def open_blip_captioner(argument: str, *, threads: int | None, device: str | None) -> BlipCaptioner:
    """Return the captioner of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no BLIP for captions.
    """
    return BlipCaptioner(load(BlipForConditionalGeneration, argument, spec="blip:",
                              model_type="blip", threads=threads, device=device))  # fmt: skip
