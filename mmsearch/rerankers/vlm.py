"""`vlm`: any model of pictures and text with a chat template, asked whether the text fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForImageTextToText

from mmsearch.encoders.pretrained import Loaded, load
from mmsearch.errors import ModelUnavailable
from mmsearch.rerankers.pairs import PairReranker, Tensors
from mmsearch.rerankers.seeing import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

ASK = 'Does this picture show: "{}"? Answer yes or no.'
YES, NO = ("Yes", "yes", " Yes", " yes"), ("No", "no", " No", " no")


class Vlm:
    """Log-odds of yes against no as the first token of the answer.

    VQAScore (arXiv:2404.01291) takes the probability of "Yes"; the odds are not drawn to 0 by
    what else the model might say.

    Raises:
        ModelUnavailable: it has no chat template, or no tokens for yes and no.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        if not getattr(loaded.processor, "chat_template", None):
            raise ModelUnavailable(
                f"{loaded.folder} has no chat template (chat_template.jinja): how a question is "
                "put to the model"
            )
        self._yes, self._no = (self._tokens(words) for words in (YES, NO))
        if not self._yes or not self._no:
            raise ModelUnavailable(
                f"the tokenizer in {loaded.folder} has no token for yes or none for no, so this "
                "model cannot re-rank"
            )

    def pair(self, text: str, seen: Any) -> Tensors:
        """Return the whole prompt's tensors."""
        image: Image = seen
        asked = [{"type": "image", "image": image}, {"type": "text", "text": ASK.format(text)}]
        return self.loaded.moved(
            self.loaded.processor.apply_chat_template(
                [{"role": "user", "content": asked}], add_generation_prompt=True, tokenize=True,
                return_dict=True, return_tensors="pt",
            )
        )  # fmt: skip

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of yes against no, over their spellings."""
        made = self.loaded.model.generate(
            **pairs, do_sample=False, max_new_tokens=1, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        logits = made.logits[0].float()
        yes, no = (logits[:, tokens].logsumexp(1) for tokens in (self._yes, self._no))
        return yes - no

    def _tokens(self, words: tuple[str, ...]) -> list[int]:
        """Return the tokens that are a whole word of these."""
        tokenizer = self.loaded.processor.tokenizer
        found = (tokenizer.encode(word, add_special_tokens=False) for word in words)
        whole = {ids[0] for ids in found if len(ids) == 1}
        return sorted(whole - {tokenizer.unk_token_id})


def open_vlm(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Any,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    Raises:
        ModelUnavailable: it is not to be had, damaged, no model of pictures and text, without a
            chat template, or without words for yes and no.
    """
    del tokens, regions, cache
    loaded = load(AutoModelForImageTextToText, argument, spec="vlm:", model_type=None,
                  threads=threads, device=device)  # fmt: skip
    return PairReranker("vlm", Vlm(loaded), Pixels(lambda image: image, None, threads))
