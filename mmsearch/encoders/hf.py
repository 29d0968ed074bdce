"""transformers' dual encoders: `hf:DIR` or `hf:ORG/REPO`.

CLIP, SigLIP, SigLIP 2 (fixed resolution), ChineseCLIP, AltCLIP, MetaCLIP 2 and
VisionTextDualEncoder. Never code from a repository, never a pickle.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging

from mmsearch.encoders import hub, weights
from mmsearch.encoders.bundle import read_json
from mmsearch.encoders.torch_backend import DualModel, TorchEncoder, as_tensor
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders import Towers

_PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors")
_PATTERNS_OLD = ("*.json", "*.txt", "*.model", "pytorch_model*.bin")


def open_hf(
    argument: str, *, threads: int | None, device: str | None, towers: Towers
) -> TorchEncoder:
    """Return the encoder of a folder, or of a hub repository (fetched once). A folder here wins.

    Raises:
        ModelUnavailable: it is not to be had, is damaged, needs code of its own, or is no dual
            encoder; no such device.
    """
    del towers
    folder = _find(argument)
    return TorchEncoder(_dual(folder), threads=threads, device=device)


def _find(argument: str) -> Path:
    folder = Path(argument).expanduser()
    if argument and folder.is_dir():
        return folder
    if not hub.is_repo(argument):
        raise ModelUnavailable(
            f"model folder {argument or '(none given)'} does not exist; write hf:DIR or hf:ORG/REPO"
        )

    def complete(found: Path) -> bool:
        return (found / "config.json").is_file() and bool(_weight_files(found))

    try:
        return hub.snapshot(argument, complete=complete, patterns=_PATTERNS)
    except ModelUnavailable:  # an old repository, without safetensors?
        return hub.snapshot(argument, complete=complete, patterns=_PATTERNS_OLD)


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that will be loaded: safetensors, where there are any."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def _dual(folder: Path) -> DualModel:
    files = _weight_files(folder)
    if not files:
        raise ModelUnavailable(f"{folder} holds no *.safetensors (nor pytorch_model.bin)")
    model = _load_model(folder, safetensors=files[0].suffix == ".safetensors")
    kind = str(model.config.model_type)
    known = weights.remembered(
        files, lambda: weights.hash_tensors(model.state_dict()), salt=f"hf {kind}"
    )
    preprocess, size = _preprocess(folder)
    tokenizer = _tokenizer(folder)
    name = f"{kind}/{known}"
    return DualModel(
        name=name,
        module=model,
        images=lambda pixels: as_tensor(model.get_image_features(pixel_values=pixels), name),
        texts=lambda tokens: as_tensor(model.get_text_features(**tokens), name),
        tokenize=_tokenize(tokenizer, model, siglip=kind == "siglip"),
        preprocess=preprocess,
        image_size=size,
        tokenizer=tokenizer,
    )


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers from drawing bars on stderr: progress is the command line's to show."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@_no_bars()
def _load_model(folder: Path, *, safetensors: bool) -> Any:
    try:
        model = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=safetensors,
            weights_only=True,
            dtype=torch.float32,
        )
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(
            f"the weights in {folder} hold more than tensors; files that could run code are never "
            "loaded: save them as .safetensors"
        ) from error
    except Exception as error:
        # transformers and safetensors raise a dozen classes for a folder that is not a model's.
        raise ModelUnavailable(f"{folder} holds no model that loads: {error}") from error
    kind = model.config.model_type
    if kind == "siglip2":
        raise ModelUnavailable(
            f"{folder} is a SigLIP 2 of variable resolution (NaFlex), which is not supported; use "
            "one of a fixed resolution, google/siglip2-base-patch16-224 for one"
        )
    if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
        raise ModelUnavailable(
            f"{folder} holds a {kind!r} model, which has no separate towers for pictures and texts"
        )
    return model


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above: any class at all
        raise ModelUnavailable(f"{folder} holds no tokenizer that loads: {error}") from error


def _tokenize(
    tokenizer: Any, model: Any, *, siglip: bool
) -> Callable[[list[str]], dict[str, torch.Tensor]]:
    text = getattr(model.config, "text_config", model.config)
    limit = min(getattr(text, "max_position_embeddings", 512), tokenizer.model_max_length)
    if getattr(text, "model_type", "") in {"xlm-roberta", "roberta", "altclip_text_model"}:
        # RoBERTa numbers its positions from pad_token_id + 1.
        limit = min(limit, text.max_position_embeddings - text.pad_token_id - 1)

    def tokenize(texts: list[str]) -> dict[str, torch.Tensor]:
        # SigLIP was trained on lower case, always padded to the full length, and with no mask.
        # Newer versions of transformers lower SigLIP 2's texts themselves, older ones do not.
        cut = {"truncation": True, "max_length": limit, "return_tensors": "pt"}
        if siglip:
            whole = tokenizer([t.lower() for t in texts], padding="max_length", **cut)
            return {"input_ids": whole["input_ids"]}
        return dict(tokenizer(texts, padding=True, **cut))

    return tokenize


def _preprocess(folder: Path) -> tuple[Callable[[Image], Array], int]:
    """Return what prepares a picture, and its side in pixels.

    Ours where it can do what the config says: it is faster, and loads no torch. Else the model's.
    """
    from mmsearch.preprocess import Preprocess

    config = _image_config(folder)
    try:
        ours = Preprocess.from_transformers(config)
    except (KeyError, TypeError, ValueError):
        return _their_preprocess(folder)
    return ours, ours.size


def _image_config(folder: Path) -> dict[str, Any]:
    path = folder / "preprocessor_config.json"
    if path.is_file():
        return read_json(path)
    path = folder / "processor_config.json"  # where transformers 5 writes it
    if path.is_file() and isinstance(found := read_json(path).get("image_processor"), dict):
        return found
    raise ModelUnavailable(f"{folder} lacks preprocessor_config.json: how pictures are prepared")


def _their_preprocess(folder: Path) -> tuple[Callable[[Image], Array], int]:
    from PIL import Image

    try:
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # as above: any class at all
        raise ModelUnavailable(f"{folder} holds no image processor that loads: {error}") from error

    def prepare(image: Image.Image) -> Array:
        pixels = processor(images=image.convert("RGB"), return_tensors="np")["pixel_values"]
        array: Array = np.asarray(pixels[0], dtype=np.float32)
        return array

    return prepare, int(prepare(Image.new("RGB", (64, 64))).shape[-1])
