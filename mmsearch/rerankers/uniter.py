"""`uniter`: one stream over words and a detector's regions with their boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import BertConfig, PreTrainedTokenizerFast

from mmsearch.cores import usable_cores
from mmsearch.encoders.pretrained import Loaded, find_folder, one_error
from mmsearch.encoders.state_dicts import read_state_dict
from mmsearch.encoders.torch_backend import pick_device, pick_dtype
from mmsearch.errors import ModelUnavailable
from mmsearch.rerankers.pairs import PairReranker, Tensors, WordsAndRegions, log_odds
from mmsearch.rerankers.seeing import Detected, regions_for
from mmsearch.rerankers.uniter_model import Uniter

_SHAPE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
          "intermediate_size")  # fmt: skip
_MORE = ("hidden_act", "max_position_embeddings", "type_vocab_size", "layer_norm_eps")
_WEIGHT_FILES = ("*.safetensors", "pytorch_model.bin", "*.pt")
_PATTERNS = ("*.json", "*.txt", *_WEIGHT_FILES)
# In published files, and no part of scoring: a masked region's features, numbers from 0 up.
_UNUSED = ("mask_embedding.weight", "position_ids")


class WordsRegionsBoxes(WordsAndRegions):
    """UNITER's image-text matching: the head of retrieval, if the model was tuned for that, else
    that of pretraining."""

    def odds(self, pairs: Tensors) -> torch.Tensor:
        """Return (n,) log-odds of a match; of the head of retrieval its one logit."""
        made = self.loaded.model(pairs["input_ids"], pairs["features"], pairs["boxes"])
        return made[:, 0] if self.loaded.model.ranks else log_odds(made, match=1)


def open_uniter(
    argument: str, *, tokens: Any, threads: int | None, device: str | None, regions: Path | None,
    cache: Any,
) -> PairReranker:  # fmt: skip
    """Return the re-ranker of a folder or hub repository.

    It holds config.json, or one other .json, with the shape of its BERT, vocab.txt or
    tokenizer.json, and the weights: *.safetensors, else pytorch_model.bin, else one *.pt.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no UNITER with a head for matching.
        BadRegions: there are no regions where it is told to look for them.
    """
    del tokens, cache
    found = regions_for("uniter", regions)
    folder = find_folder(
        argument, "uniter:", complete=lambda f: bool(_weights(f)), patterns=_PATTERNS
    )
    where = pick_device(device)
    if where.type == "cpu":
        torch.set_num_threads(threads or usable_cores())
    with one_error(folder):
        files = _weights(folder)
        model = _model(folder, _config(folder), files)
        tokenizer = _tokenizer(folder, model.config.vocab_size)
    loaded = Loaded(model.to(where, pick_dtype(where)).eval(), tokenizer, where, folder)
    eye = Detected(loaded, found, model.width, boxes=True)
    return PairReranker("uniter", WordsRegionsBoxes(loaded), eye, files)


def _weights(folder: Path) -> list[Path]:
    """Return the files of weights that are read; none if there are none."""
    every = (sorted(folder.glob(pattern)) for pattern in _WEIGHT_FILES)
    return next((files for files in every if files), [])


def _config(folder: Path) -> BertConfig:
    """Return what the folder says of the BERT in it."""
    named = folder / "config.json"
    # Published models come with uniter-base.json or uniter-large.json.
    files = [named] if named.is_file() else sorted(folder.glob("uniter*.json"))
    if len(files) != 1:
        raise ModelUnavailable(f"{folder} holds no model: config.json is missing")
    fields = json.loads(files[0].read_text(encoding="utf8"))
    sort = fields.get("model_type", "uniter")
    if sort != "uniter":
        raise ModelUnavailable(f"{folder} holds a {sort!r} model, not a 'uniter' one")
    if missing := [name for name in _SHAPE if name not in fields]:
        raise ModelUnavailable(f"{files[0]} lacks {', '.join(missing)}")
    return BertConfig(**{name: fields[name] for name in (*_SHAPE, *_MORE) if name in fields})


def _model(folder: Path, config: BertConfig, files: list[Path]) -> Uniter:
    """Return the model with its weights, every one of which is in the files."""
    if not files:
        raise ModelUnavailable(
            f"{folder} holds no weights: model.safetensors, pytorch_model.bin or NAME.pt"
        )
    if files[0].suffix == ".pt" and len(files) > 1:
        raise ModelUnavailable(
            f"{folder} holds {files[0].name}, {files[1].name}: which is it? Leave one"
        )
    state: dict[str, torch.Tensor] = {}
    for file in files:
        state |= read_state_dict(file)
    state = {_modern(name): tensor for name, tensor in state.items()}
    ranks = "rank_output.weight" in state  # in files that were tuned for retrieval
    features = state.get("uniter.img_embeddings.img_linear.weight")
    if features is None or not (ranks or "itm_output.weight" in state):
        what = "head for matching (itm_output, rank_output)" if features is not None else "UNITER"
        raise ModelUnavailable(f"{folder} holds no {what}: it was saved for another task")
    head = "rank_output." if ranks else "itm_output."
    used = {
        name: tensor
        for name, tensor in state.items()
        if name.startswith(("uniter.", head)) and not name.endswith(_UNUSED)
    }
    model = Uniter(config, features.shape[1], ranks=ranks)
    missing, unknown = model.load_state_dict(used, strict=False)
    if missing:
        raise ModelUnavailable(f"{folder} lacks {len(missing)} of the weights ({missing[0]} ...)")
    if unknown:
        raise ModelUnavailable(
            f"{folder} holds {len(unknown)} weights ({unknown[0]} ...) of which its config does "
            "not know: they are another model's"
        )
    return model


def _modern(name: str) -> str:
    """Return a tensor's name with LayerNorm's weight and bias as torch calls them."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _tokenizer(folder: Path, words: int) -> PreTrainedTokenizerFast:
    """Return the word pieces: of tokenizer.json, else of vocab.txt."""
    whole, listed = folder / "tokenizer.json", folder / "vocab.txt"
    if whole.is_file():
        made = Tokenizer.from_file(str(whole))
    elif listed.is_file():
        pieces = listed.read_text(encoding="utf8").splitlines()
        made = BertWordPieceTokenizer(
            {piece: number for number, piece in enumerate(pieces)},
            lowercase=_lowers(folder, pieces),
        )._tokenizer
    else:
        raise ModelUnavailable(
            f"{folder} lacks vocab.txt or tokenizer.json; published UNITER has bert-base-cased's"
        )
    if made.get_vocab_size() > words:
        raise ModelUnavailable(
            f"the words of {folder} are {made.get_vocab_size():,}, the model has {words:,}: they "
            "are another model's"
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")


def _lowers(folder: Path, pieces: list[str]) -> bool:
    """Return whether capitals are made small: as tokenizer_config.json says, else if no piece
    has any."""
    beside = folder / "tokenizer_config.json"
    said = json.loads(beside.read_text(encoding="utf8")) if beside.is_file() else {}
    if "do_lower_case" in said:
        return bool(said["do_lower_case"])
    return all(piece == piece.lower() or piece.startswith("[") for piece in pieces)
