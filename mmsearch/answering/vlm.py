"""Any image-text-to-text model of transformers that has a chat template: answers and captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForImageTextToText

from mmsearch.answering import Answer
from mmsearch.encoders.pretrained import Loaded, load, refusals
from mmsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.regions import Regions

SHORT = "Answer with a word or a short phrase."
DESCRIBE = "Describe this picture in one sentence."
ANSWER_TOKENS, CAPTION_TOKENS = 32, 60


class Vlm:
    """One greedy answer; its score is the geometric mean of its tokens' probabilities."""

    needs_regions = False

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        if not getattr(loaded.processor, "chat_template", None):
            raise ModelUnavailable(
                f"{loaded.folder} has no chat template (chat_template.jinja): how a question is "
                "put to the model"
            )

    def answer(
        self, image: Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        """Return one answer, whatever k. Raises as `Answerer.answer`."""
        del k, regions
        return [self._say(image, f"{question} {SHORT}", ANSWER_TOKENS)]

    def captions(self, images: Sequence[Image]) -> list[str]:
        """Return a sentence for each picture. Raises as `Captioner.captions`."""
        return [self._say(image, DESCRIBE, CAPTION_TOKENS).text for image in images]

    def _say(self, image: Image, text: str, tokens: int) -> Answer:
        asked = [{"type": "image", "image": image}, {"type": "text", "text": text}]
        with refusals(self._loaded.folder):
            given = self._loaded.moved(
                self._loaded.processor.apply_chat_template(
                    [{"role": "user", "content": asked}], add_generation_prompt=True,
                    tokenize=True, return_dict=True, return_tensors="pt",
                )
            )  # fmt: skip
            made = self._loaded.model.generate(
                **given, do_sample=False, max_new_tokens=tokens, output_scores=True,
                return_dict_in_generate=True,
            )  # fmt: skip
            written = made.sequences[:, given["input_ids"].shape[1] :]
            said = self._loaded.processor.batch_decode(written, skip_special_tokens=True)[0]
        return Answer(" ".join(said.split()), _sureness(made.scores, written[0]))


def _sureness(scores: Sequence[Any], written: Any) -> float:
    """Return the geometric mean of the probabilities of the tokens that were written."""
    steps = [s[0].float().log_softmax(0)[token] for s, token in zip(scores, written, strict=True)]
    return float(torch.stack(steps).mean().exp()) if steps else 0.0


def open_vlm(argument: str, *, threads: int | None, device: str | None) -> Vlm:
    """Return the model of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, no model of pictures and text, or
            without a chat template.
    """
    return Vlm(load(AutoModelForImageTextToText, argument, spec="vlm:", model_type=None,
                    threads=threads, device=device))  # fmt: skip
