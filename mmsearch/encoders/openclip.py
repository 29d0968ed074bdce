"""open_clip's models: `open_clip:ARCH/TAG`, TAG a pretrained tag or a checkpoint file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import open_clip

from mmsearch.encoders import weights
from mmsearch.encoders.torch_backend import DualModel, TorchEncoder
from mmsearch.errors import ModelUnavailable, UnknownName

if TYPE_CHECKING:
    from mmsearch.encoders import Towers


def open_openclip(
    argument: str, *, threads: int | None, device: str | None, towers: Towers
) -> TorchEncoder:
    """Return the encoder for ARCH/TAG. A tag's weights are fetched once, by open_clip.

    Raises:
        UnknownName: open_clip has no such architecture, or no such tag for it.
        ModelUnavailable: the weights cannot be fetched, are damaged, hold more than tensors, or
            are of another architecture; no such device.
    """
    del towers
    arch, _, tag = argument.partition("/")
    if arch not in open_clip.list_models():
        raise UnknownName("open_clip architecture", arch, open_clip.list_models())
    checkpoint = Path(tag).expanduser()
    local = bool(tag) and checkpoint.is_file()
    if not local:
        _check_tag(arch, tag)
    model = _create(arch, str(checkpoint) if local else tag)
    return TorchEncoder(
        _dual(arch, model, checkpoint if local else None), threads=threads, device=device
    )


def _check_tag(arch: str, tag: str) -> None:
    tags = open_clip.list_pretrained_tags_by_model(arch)
    if "/" in tag or Path(tag).suffix in {".pt", ".pth", ".bin", ".safetensors", ".npz"}:
        raise ModelUnavailable(f"checkpoint {tag} does not exist")
    if tag not in tags:
        raise UnknownName(f"pretrained tag of open_clip's {arch}", tag, tags)


def _create(arch: str, pretrained: str) -> Any:
    try:
        return open_clip.create_model(
            arch, pretrained=pretrained, weights_only=True, require_pretrained=True
        )
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(
            f"checkpoint {pretrained} holds more than tensors, or is damaged; files that could run "
            "code are never loaded: save it as .safetensors"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise ModelUnavailable(
            f"weights {pretrained} for open_clip's {arch} cannot be loaded: {error}; tags need the "
            "network once, checkpoint files must be of this architecture"
        ) from error


def _dual(arch: str, model: Any, checkpoint: Path | None) -> DualModel:
    from mmsearch.preprocess import Preprocess

    def compute() -> str:
        return weights.hash_tensors(model.state_dict())

    known = weights.remembered([checkpoint], compute, salt=arch) if checkpoint else compute()
    tokenizer = _tokenizer(arch)
    preprocess = Preprocess.from_open_clip(open_clip.get_model_preprocess_cfg(model))
    return DualModel(
        name=f"{arch}/{known}",
        module=model,
        images=model.encode_image,
        texts=lambda tokens: model.encode_text(tokens["text"]),
        tokenize=lambda texts: {"text": tokenizer(texts)},
        preprocess=preprocess,
        image_size=preprocess.size,
        tokenizer=tokenizer,
    )


def _tokenizer(arch: str) -> Any:
    try:
        return open_clip.get_tokenizer(arch)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"the tokenizer of open_clip's {arch} is on the hub, and cannot be fetched: {error}"
        ) from error
