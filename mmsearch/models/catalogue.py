"""The models that mmsearch knows of: for `mmsearch models list|info`. Loads no weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmsearch.encoders import ENCODERS, STARTER, hub, resolve_model
from mmsearch.encoders.bundle import Bundle, read_bundle, read_json, weights_hash
from mmsearch.encoders.checkpoint import CHECKPOINT, read_checkpoint
from mmsearch.encoders.named import NamedModel, read_named
from mmsearch.errors import UnknownName

SIGLIP2 = "SigLIP 2, arXiv:2502.14786"
PE = "Perception Encoder, arXiv:2504.13181"
OPEN_CLIP = "open_clip's published retrieval results"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model without loading it. 0, "" and None: not known.

    spec: what to give to --model. extra: the part of mmsearch that it needs beyond the core.
    dim: vector length. image_size: side in pixels. parameters_m: both towers, in millions; a
    float32 file has four times as many MB. text_to_image, image_to_text: COCO R@1 in percent, as
    `source` has published them (5,000 pictures; any of a picture's 5 captions counts).
    present: its files are here, it loads without network. path: its folder. weights_hash: as in
    its space's name; `list_models` leaves it out, as a first look reads a large model in full.
    card: its model card, a text file. checked: what `models export` has measured.
    """

    spec: str
    what: str
    extra: str = ""
    dim: int = 0
    image_size: int = 0
    parameters_m: int = 0
    text_to_image: float | None = None
    image_to_text: float | None = None
    source: str = ""
    license: str = ""
    present: bool = False
    path: Path | None = None
    weights_hash: str = ""
    card: Path | None = None
    checked: Mapping[str, Any] | None = None


CATALOGUE = (
    ModelInfo(
        "starter",
        "ships with mmsearch: works at once, offline; good on people, dogs, sport, outdoors",
        license="research and non-commercial use",
    ),
    ModelInfo(
        "onnx:immich-app/ViT-B-16-SigLIP2__webli",
        "SigLIP 2 B/16: the best of these for its size; many languages",
        dim=768,
        image_size=224,
        parameters_m=375,
        text_to_image=52.1,
        image_to_text=68.9,
        source=SIGLIP2,
        license="Apache-2.0",
    ),
    ModelInfo(
        "onnx:immich-app/ViT-B-32-SigLIP2-256__webli",
        "SigLIP 2 B/32: about a third of the B/16's work for a picture; many languages",
        dim=768,
        image_size=256,
        parameters_m=377,
        text_to_image=47.2,
        image_to_text=63.7,
        source=SIGLIP2,
        license="Apache-2.0",
    ),
    ModelInfo(
        "open_clip:PE-Core-B-16/meta",
        "Perception Encoder B/16, by Meta; English",
        extra="torch",
        dim=1024,
        image_size=224,
        parameters_m=448,
        text_to_image=50.9,
        source=PE,
        license="Apache-2.0",
    ),
    ModelInfo(
        "onnx:immich-app/ViT-B-32__laion2b-s34b-b79k",
        "CLIP B/32 on LAION-2B: small and fast; English",
        dim=512,
        image_size=224,
        parameters_m=151,
        text_to_image=39.3,
        image_to_text=56.3,
        source=OPEN_CLIP,
        license="MIT",
    ),
    ModelInfo(
        "open_clip:ViT-B-32-256/datacomp_s34b_b86k",
        "CLIP B/32 on DataComp: what rclip uses; English",
        extra="torch",
        dim=512,
        image_size=256,
        parameters_m=151,
        text_to_image=39.9,
        image_to_text=57.9,
        source=OPEN_CLIP,
        license="MIT",
    ),
    ModelInfo(
        "color",
        "for tests and examples: a picture is its mean colour, a text the colours it names",
        dim=4,
        image_size=8,
        license="Apache-2.0",
        present=True,
        weights_hash="1",
    ),
)


def list_models() -> list[ModelInfo]:
    """Return the catalogue and the user's own, each with whether its files are here.

    Raises:
        ModelUnavailable: the list of the user's names is damaged.
    """
    return [*(_located(model) for model in CATALOGUE), *(_own(m) for m in read_named().values())]


def model_info(spec: str) -> ModelInfo:
    """Return what is known of a model, from the catalogue and from its own files; fetches nothing.

    Raises:
        UnknownName: no encoder, and no model of the user's, has that name.
        ModelUnavailable: its folder is here, but is no model's; or the list of the user's names
            is damaged.
    """
    if ":" not in spec and (named := read_named().get(spec)) is not None:
        own = _own(named)
        return replace(model_info(named.spec), spec=spec, what=own.what) if own.present else own
    spec = resolve_model(spec)
    name, colon, argument = spec.partition(":")
    if name not in ENCODERS.names():
        known = ENCODERS.names() if colon else [*ENCODERS.names(), *read_named()]
        raise UnknownName("encoder", name, known)
    found = next((m for m in CATALOGUE if m.spec == spec), None)
    if found is None:
        extra = "torch" if name in ("open_clip", "hf") else ""
        found = ModelInfo(spec, argument or name, extra=extra)
    folder = _folder(spec)
    if folder is not None and name == "checkpoint":
        return _checkpoint(found, folder)
    if folder is None or name not in ("onnx", "starter"):
        return _located(found)
    return _described(found, read_bundle(folder))


def _own(named: NamedModel) -> ModelInfo:
    folder = _folder(named.spec)
    whole = _located(ModelInfo(named.spec, f"yours: {named.spec}"))
    gone = "" if folder else " (its folder is gone)"
    return replace(
        whole,
        spec=named.name,
        what=whole.what + gone,
        dim=named.dim,
        image_size=named.image_size,
        weights_hash=named.space.rpartition("/")[2],
    )


def _checkpoint(model: ModelInfo, folder: Path) -> ModelInfo:
    """Return what a training run's folder tells; its kind says whether it needs torch."""
    if read_checkpoint(folder)["kind"] != "starter":
        return replace(_located(model), extra="torch")
    described = _described(model, read_bundle(folder / "model"))
    return replace(described, card=_card(folder))


def _located(model: ModelInfo) -> ModelInfo:
    """Return the entry with what a look at the disk tells: present, path, card."""
    folder = _folder(model.spec)
    if folder is None:
        return model
    name = model.spec.partition(":")[0]
    if name == "checkpoint":
        present = (folder / CHECKPOINT).is_file()
    else:
        present = name == "hf" or not hub.missing_files(folder)
    return replace(
        model,
        path=folder,
        present=present,
        card=_card(folder),
    )


def _described(model: ModelInfo, bundle: Bundle) -> ModelInfo:
    """Return the entry with what the model's own config says, which goes before the catalogue."""
    return replace(
        _located(model),
        dim=bundle.dim,
        image_size=bundle.image_size,
        weights_hash=weights_hash(bundle),
        license=bundle.license or model.license,
        checked=read_json(bundle.folder / "config.json").get("checked"),
    )


def _folder(spec: str) -> Path | None:
    """Return the folder that holds a model's files, if it is here, complete or not."""
    name, _, argument = spec.partition(":")
    if name == "starter":
        return STARTER if STARTER.is_dir() else None
    if name not in ("onnx", "hf", "checkpoint") or not argument:
        return None
    folder = Path(argument).expanduser()
    if folder.is_dir():
        return folder
    hubs = name != "checkpoint" and hub.is_repo(argument)
    return hub.cached_snapshot(argument) if hubs else None


def _card(folder: Path) -> Path | None:
    names = ("MODEL_CARD.md", "README.md", "report.md")
    return next((folder / n for n in names if (folder / n).is_file()), None)


__all__ = ["CATALOGUE", "ModelInfo", "list_models", "model_info"]
