"""Names for models of the user's own: `mmsearch models add` and `remove`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from mmsearch.encoders import ENCODERS, load_encoder
from mmsearch.encoders.bundle import read_bundle, read_json
from mmsearch.encoders.checkpoint import CHECKPOINT, read_checkpoint
from mmsearch.encoders.named import NamedModel, changed_names, data_folder, read_named
from mmsearch.errors import BadModelName, ModelUnavailable
from mmsearch.files import replace_folder
from mmsearch.types import Encoder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What a copy takes of each sort of folder: the model and what is said of it, no states to resume.
CARDS = ("README.md", "MODEL_CARD.md", "LICENSE", "report.md", "report.json")
COPIED = {
    "checkpoint": (CHECKPOINT, "model", *CARDS),
    "onnx": ("config.json", "visual", "textual", *CARDS),
    "hf": ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin", *CARDS),
}


def add_model(folder: Path, name: str, *, copy: bool = False) -> NamedModel:
    """Give a folder's model a name, under which it can be used anywhere; return it.

    The model is loaded, and embeds a picture and a text, before it is added.

    Args:
        folder: an ONNX bundle, what `mmsearch train` has written, or a folder of transformers.
        name: letters, digits, ".", "-" and "_".
        copy: copy it into the user's data folder, so that the original may go.

    Raises:
        BadModelName: the name is not one, or is taken.
        ModelUnavailable: the folder holds no model that works, or one that training refused.
        MissingExtra: the model needs a part of mmsearch that is not installed.
        OSError: the data folder cannot be written.
    """
    folder = folder.expanduser().absolute()
    kind = kind_of(folder)
    place = data_folder() / "models" / name
    spec = f"{kind}:{place if copy else folder}"
    check_name(name, spec)
    encoder = _working(f"{kind}:{folder}")
    named = NamedModel(
        name, spec, encoder.space.dim, encoder.image_size, encoder.space.name, copied=copy
    )
    with changed_names() as models:
        _check_free(name, spec, models)
        if copy and place != folder:
            replace_folder(place, lambda part: _copy(folder, part, COPIED[kind]))
        models[name] = named
    return named


def remove_model(name: str) -> NamedModel:
    """Forget a name, and delete the copy if there is one; return what it stood for.

    Raises:
        BadModelName: no model of the user's has it.
        ModelUnavailable: the list of names is damaged.
        OSError: the data folder cannot be written.
    """
    with changed_names() as models:
        named = find_named(name, models)
        del models[name]
    if named.copied:
        shutil.rmtree(data_folder() / "models" / name, ignore_errors=True)
    return named


def find_named(name: str, models: dict[str, NamedModel] | None = None) -> NamedModel:
    """Return the user's model of that name.

    Raises:
        BadModelName: there is none.
        ModelUnavailable: the list of names is damaged.
    """
    models = read_named() if models is None else models
    if name not in models:
        known = f"yours are: {', '.join(sorted(models))}" if models else "you have added none"
        raise BadModelName(f"no model of yours is called {name!r} ({known})")
    return models[name]


def kind_of(folder: Path) -> str:
    """Return "checkpoint", "onnx" or "hf": how the model in a folder is loaded.

    Raises:
        ModelUnavailable: there is no model in it, or one that training refused.
    """
    if not folder.is_dir():
        raise ModelUnavailable(f"model folder {folder} does not exist")
    if folder.name == "rejected" and (folder.parent / "report.json").is_file():
        read_checkpoint(folder.parent)  # says why
        raise ModelUnavailable(f"{folder} holds what training refused")
    trained = (CHECKPOINT, "run.json", "resume.pt", "report.json")
    if any((folder / file).is_file() for file in trained):
        read_checkpoint(folder)
        return "checkpoint"
    config = folder / "config.json"
    if (folder / "visual").is_dir() or not config.is_file():
        read_bundle(folder)
        return "onnx"
    if "model_type" not in read_json(config):
        raise ModelUnavailable(f"{folder} holds neither an ONNX model nor one of transformers")
    return "hf"


def check_name(name: str, spec: str) -> None:
    """Return if a model may have this name.

    Raises:
        BadModelName: it may not: it is built in, taken, or no name.
        ModelUnavailable: the list of names is damaged.
    """
    if not NAME.fullmatch(name):
        raise BadModelName(
            f"{name!r} cannot be a model's name: letters, digits, '.', '-' and '_', no ':'"
        )
    if name == "auto" or name in ENCODERS.names():
        raise BadModelName(f"{name!r} is the name of a built-in model; choose another")
    _check_free(name, spec, read_named())


def _check_free(name: str, spec: str, models: dict[str, NamedModel]) -> None:
    if name in models and models[name].spec != spec:
        raise BadModelName(
            f"{name!r} is the name of {models[name].spec}; mmsearch models remove {name}, or "
            "choose another"
        )


def _working(spec: str) -> Encoder:
    from PIL import Image

    encoder = load_encoder(spec)
    encoder.encode_texts(["a photo"])
    encoder.encode_images(encoder.prepare(Image.new("RGB", (64, 48), "teal"))[None])
    return encoder


def _copy(folder: Path, to: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.copytree(path, to / path.name)
            else:
                shutil.copyfile(path, to / path.name)


__all__ = ["add_model", "check_name", "find_named", "kind_of", "remove_model"]
