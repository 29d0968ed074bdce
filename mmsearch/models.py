"""The models that mmsearch knows of: for `mmsearch models list|info`. Loads no weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mmsearch.encoders import ENCODERS, STARTER, hub, resolve_model
from mmsearch.encoders.bundle import Bundle, read_bundle, weights_hash
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
    card: its model card, a text file.
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
    """Return the catalogue, each with whether its files are here."""
    return [_located(model) for model in CATALOGUE]


def model_info(spec: str) -> ModelInfo:
    """Return what is known of a model, from the catalogue and from its own files; fetches nothing.

    Raises:
        UnknownName: no encoder has that name.
        ModelUnavailable: its folder is here, but is no model's.
    """
    spec = resolve_model(spec)
    name, _, argument = spec.partition(":")
    if name not in ENCODERS.names():
        raise UnknownName("encoder", name, ENCODERS.names())
    known = next((m for m in CATALOGUE if m.spec == spec), None)
    if known is None:
        extra = "torch" if name in ("open_clip", "hf") else ""
        known = ModelInfo(spec, argument or name, extra=extra)
    folder = _folder(spec)
    if folder is None or name not in ("onnx", "starter"):
        return _located(known)
    return _described(known, read_bundle(folder))


def _located(model: ModelInfo) -> ModelInfo:
    """Return the entry with what a look at the disk tells: present, path, card."""
    folder = _folder(model.spec)
    if folder is None:
        return model
    bundle = not model.spec.startswith("hf:")
    return replace(
        model,
        path=folder,
        present=not (bundle and hub.missing_files(folder)),
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
    )


def _folder(spec: str) -> Path | None:
    """Return the folder that holds a model's files, if it is here, complete or not."""
    name, _, argument = spec.partition(":")
    if name == "starter":
        return STARTER if STARTER.is_dir() else None
    if name not in ("onnx", "hf") or not argument:
        return None
    folder = Path(argument).expanduser()
    if folder.is_dir():
        return folder
    return hub.cached_snapshot(argument) if hub.is_repo(argument) else None


def _card(folder: Path) -> Path | None:
    names = ("MODEL_CARD.md", "README.md")
    return next((folder / n for n in names if (folder / n).is_file()), None)


__all__ = ["CATALOGUE", "ModelInfo", "list_models", "model_info"]
