"""A torch model's tokenizer as a file of the `tokenizers` library: the same ids without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.torch_backend import DualModel
from mmsearch.errors import ExportFailed
from mmsearch.models.probes import TEXTS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmsearch.encoders.tokens import Tokens

MASK = "attention_mask"


def write_tokenizer(dual: DualModel, folder: Path) -> dict[str, Any]:
    """Write tokenizer.json and tokenizer_config.json; return what config.json must say of them.

    Raises:
        ExportFailed: the tokenizer is of a kind that cannot be written so.
        OSError: the folder cannot be written.
    """
    own = dual.tokenizer
    config: dict[str, Any] = {"context_length": context_length(dual)}
    special: dict[str, Any] = {}
    if hasattr(own, "bpe_ranks"):
        tokenizer = _clip_tokenizer(own)
    else:
        theirs = getattr(own, "tokenizer", own)  # open_clip wraps one of transformers
        tokenizer = _backend(theirs)
        special = {
            "pad_token": theirs.pad_token,
            "sep_token": theirs.sep_token,
            "padding_side": theirs.padding_side,
        }
    if hasattr(own, "clean_fn") or hasattr(own, "bpe_ranks"):
        if getattr(own, "reduction_fn", None) or getattr(own, "tokenizer_mode", ""):
            raise ExportFailed(f"{dual.name} cuts texts in a way of its own, which ONNX cannot say")
        config["clean"] = own.clean_fn.__name__.removeprefix("_clean_")
        config["strip_sep"] = bool(getattr(own, "strip_sep_token", False))
    elif dual.tokenize(["A Dog"])["input_ids"].equal(dual.tokenize(["a dog"])["input_ids"]):
        # Said by the model's code, not always by its tokenizer's file: SigLIP.
        from tokenizers import normalizers

        then = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *then])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    text = json.dumps({k: v for k, v in special.items() if v is not None}, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return config


def context_length(dual: DualModel) -> int:
    """Return how many tokens of an overlong text the model reads."""
    return int(next(iter(dual.tokenize([TEXTS[-1] * 20]).values())).shape[1])


def pads_whole(dual: DualModel) -> bool:
    """Return whether the model's own tokenizer pads every text to the full length."""
    return int(next(iter(dual.tokenize(["x"]).values())).shape[1]) == context_length(dual)


def check_tokens(dual: DualModel, tokens: Tokens) -> None:
    """Return if the written tokenizer gives the model's own ids and masks.

    Raises:
        ExportFailed: it does not, for the text that the message shows.
    """
    whole = pads_whole(dual)
    for texts in [*([text] for text in TEXTS), list(TEXTS[:4])]:
        given = {name: ids.numpy() for name, ids in dual.tokenize(texts).items()}
        ids, mask = tokens(texts, whole=whole)
        expected = next(v for n, v in given.items() if n not in (MASK, "token_type_ids"))
        same = np.array_equal(ids, expected) and np.array_equal(mask, given.get(MASK, mask))
        if not same:
            raise ExportFailed(
                f"the tokenizer of {dual.name} cannot be written as a tokenizer.json: "
                f"{texts[0][:60]!r} becomes {ids[0].tolist()[:12]}, not "
                f"{expected[0].tolist()[:12]}"
            )


def _backend(tokenizer: Any) -> Tokenizer:
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "to_str"):
        raise ExportFailed(
            f"a tokenizer of the kind {type(tokenizer).__name__} has no tokenizer.json: only those "
            "of the `tokenizers` library ('fast' ones) can be exported"
        )
    return Tokenizer.from_str(backend.to_str())


def _clip_tokenizer(own: Any) -> Tokenizer:
    """Return open_clip's byte-pair tokenizer: the same vocabulary, merges and splits."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(
        models.BPE(vocab=own.encoder, merges=list(own.bpe_ranks), end_of_word_suffix="</w>")
    )
    names = [own.decoder[i] for i in own.all_special_ids]
    tokenizer.add_special_tokens([AddedToken(name, normalized=True) for name in names])
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = names[:2]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, own.sot_token_id), (end, own.eot_token_id)],
    )
    return tokenizer
