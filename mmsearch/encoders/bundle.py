"""An ONNX bundle on disk: which files it has, and what its config says. Reads JSON, no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmsearch.encoders import weights
from mmsearch.encoders.hub import missing_files
from mmsearch.errors import ModelUnavailable

Clean = Literal["none", "whitespace", "lower", "canonicalize"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What the folder's config.json and preprocess_cfg.json say.

    dim: vector length. image_size: side in pixels. context_length: longest text in tokens.
    weights_hash: "" where the config has none. optimized: the towers whose graphs need no
    optimisation at load. clean: what is done to a text before it is cut into tokens. strip_sep:
    the separator token becomes 0, as some open_clip models were trained. pad_whole: pad each text
    to the context length even if the model has an attention mask; None: as its inputs suggest.
    """

    folder: Path
    name: str
    dim: int
    image_size: int
    context_length: int
    weights_hash: str = ""
    optimized: frozenset[str] = frozenset()
    clean: Clean = "none"
    strip_sep: bool = False
    pad_whole: bool | None = None
    license: str = ""

    @property
    def visual(self) -> Path:
        return self.folder / "visual" / "model.onnx"

    @property
    def textual(self) -> Path:
        return self.folder / "textual" / "model.onnx"


def read_bundle(folder: Path) -> Bundle:
    """Return what the bundle's config files say; both forms of config.json are understood.

    Raises:
        ModelUnavailable: the folder is missing, lacks a file, or a config is no such config.
    """
    if not folder.is_dir():
        raise ModelUnavailable(f"model folder {folder} does not exist")
    if missing := missing_files(folder):
        raise ModelUnavailable(
            f"model folder {folder} lacks {', '.join(missing)}; docs/models.md shows the layout"
        )
    path = folder / "config.json"
    config = read_json(path)
    own = "embed_dim" not in config
    try:
        if own:
            return _own(folder, config)
        return _open_clip(folder, config)
    except (KeyError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelUnavailable(f"{path} is not a model's config: {what}") from error


def weights_hash(bundle: Bundle) -> str:
    """Return the hash of the bundle's weights: its config's word, else read and remembered.

    Raises:
        ModelUnavailable: the weights cannot be read.
    """
    if bundle.weights_hash:
        return bundle.weights_hash
    try:
        files = weights.bundle_files(bundle.folder)
        return weights.remembered(files, lambda: weights.bundle_hash(bundle.folder))
    except OSError as error:
        raise ModelUnavailable(f"the weights in {bundle.folder} cannot be read: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        ModelUnavailable: it cannot be read, or is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelUnavailable(f"{path} is not a JSON object")
    return value


def _own(folder: Path, config: dict[str, Any]) -> Bundle:
    pad = config.get("padding")
    if pad not in (None, "longest", "context"):
        raise ValueError(f'padding is {pad!r}, not "longest" or "context"')
    return Bundle(
        folder=folder,
        name=str(config["name"]),
        dim=int(config["dim"]),
        image_size=int(config["image_size"]),
        context_length=int(config["context_length"]),
        weights_hash=str(config.get("weights_hash", "")),
        optimized=_optimized(config.get("optimized", False)),
        clean=_clean(config.get("clean", "none")),
        strip_sep=bool(config.get("strip_sep", False)),
        pad_whole=None if pad is None else pad == "context",
        license=str(config.get("license", "")),
    )


def _optimized(value: object) -> frozenset[str]:
    """Return the names of towers: all for true, none for false, or those of a list."""
    names = {True: ["visual", "textual"], False: []}[value] if isinstance(value, bool) else value
    if not isinstance(names, list) or not {*names} <= {"visual", "textual"}:
        raise ValueError(
            f'optimized is {value!r}, not true, false or a list of "visual", "textual"'
        )
    return frozenset(names)


def _open_clip(folder: Path, config: dict[str, Any]) -> Bundle:
    text = config["text_cfg"]
    extra = text.get("tokenizer_kwargs") or {}
    size = read_json(folder / "visual" / "preprocess_cfg.json").get("size")
    if size is None:
        size = config["vision_cfg"]["image_size"]
    return Bundle(
        folder=folder,
        # Not the folder's name: a renamed or copied model is still the same model.
        name="onnx",
        dim=int(config["embed_dim"]),
        image_size=int(size[0] if isinstance(size, list) else size),
        context_length=int(text.get("context_length", 77)),
        clean=_clean(extra.get("clean", "whitespace")),
        strip_sep=bool(extra.get("strip_sep_token", False)),
    )


def _clean(name: str) -> Clean:
    match name:
        case "none" | "whitespace" | "lower" | "canonicalize":
            return name
    raise ValueError(f"unknown way to clean texts {name!r}")
