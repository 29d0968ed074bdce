"""One vector from a text tower that has no pooler of its own: T5's encoder, GPT-2 and its like.

transformers' VisionTextDualEncoder takes the tower's `pooler_output`, which these don't have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch

from mmsearch.encoders.torch_backend import DualModel, as_tensor
from mmsearch.errors import ModelUnavailable

Pooling = Literal["own", "cls", "mean", "last"]


def pool(hidden: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """Return (n, width): the first token, the mean of the tokens, or the last token.

    Args:
        hidden: (n, length, width).
        mask: (n, length); 1 on tokens, 0 on padding, on whichever side.
        how: "last" is for causal towers, where only the last token has seen them all.
    """
    rows = torch.arange(len(hidden), device=hidden.device)
    positions = torch.arange(mask.shape[1], device=hidden.device)
    if how == "cls":
        return hidden[rows, torch.where(mask > 0, positions, mask.shape[1]).argmin(1)]
    if how == "last":
        return hidden[rows, torch.where(mask > 0, positions, -1).argmax(1)]
    keep = mask[:, :, None].to(hidden.dtype)
    return (hidden * keep).sum(1) / keep.sum(1).clamp(min=1)


def pooling_of(model: Any) -> Pooling:
    """Return how the text tower of a VisionTextDualEncoder is pooled; "own" for all others.

    Told by the tower's kind: the mean for T5, the last token for causal towers, else its pooler.
    """
    if model.config.model_type != "vision-text-dual-encoder":
        return "own"
    kind = model.config.text_config.model_type
    if kind in {"t5", "mt5", "umt5"}:
        return "mean"
    if kind in {"gpt2", "gpt_neo", "gpt_neox", "gptj", "opt", "llama", "qwen2", "bloom"}:
        return "last"
    return "own"


def without_decoder(model: Any) -> bool:
    """Leave T5's encoder alone in place of the whole T5; return whether there was a decoder.

    A folder that was saved without one would get random weights for it, and with them another
    hash at every start.
    """
    tower: Any = getattr(model, "text_model", None)
    if getattr(tower, "decoder", None) is None or not hasattr(tower, "encoder"):
        return False
    from transformers import T5EncoderModel

    encoder = T5EncoderModel(tower.config)
    encoder.shared, encoder.encoder = tower.shared, tower.encoder
    model.text_model = encoder
    return True


def pooled(dual: DualModel, how: Pooling) -> DualModel:
    """Return the same dual encoder with its text tower pooled so; "own" changes nothing."""
    model: Any = dual.module
    if how == "own":
        return dual

    def texts(tokens: dict[str, torch.Tensor]) -> torch.Tensor:
        given = {k: v for k, v in tokens.items() if k in ("input_ids", "attention_mask")}
        hidden = model.text_model(**given).last_hidden_state
        return as_tensor(model.text_projection(pool(hidden, tokens["attention_mask"], how)), "")

    try:
        dual.tokenize(["a", "a longer one"])
    except ValueError as error:
        raise ModelUnavailable(
            f"the tokenizer of {dual.name} cannot pad: set pad_token in its tokenizer_config.json "
            f"(GPT-2's eos_token will do): {error}"
        ) from error
    return replace(dual, texts=texts)
