"""Encoders by spec. Importing this package costs nothing: a back end is imported when asked for.

A spec is `name` or `name:argument`, as in `starter` or `onnx:/models/siglip2`. See docs/models.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmsearch.errors import UnknownName
from mmsearch.registry import Registry

if TYPE_CHECKING:
    from mmsearch.types import Encoder

Towers = Literal["both", "text", "image"]

# The best of the hub models that need no torch, best first (docs/models.md has the figures).
# `auto` takes the first that is cached in full.
RECOMMENDED = (
    "onnx:immich-app/ViT-B-16-SigLIP2__webli",
    "onnx:immich-app/ViT-B-32-SigLIP2-256__webli",
)
FALLBACK = "starter"
BARE = ("color", FALLBACK)  # the built-in ones that take no argument
STARTER = Path(__file__).parent / "starter"

# A factory is called as factory(argument, threads=..., device=..., towers=...).
ENCODERS: Registry[Encoder] = Registry(
    "encoder",
    {
        "color": "mmsearch.encoders.color:open_color",
        "starter": "mmsearch.encoders.onnx:open_starter",
        "onnx": "mmsearch.encoders.onnx:open_onnx",
        "open_clip": "mmsearch.encoders.openclip:open_openclip",
        "hf": "mmsearch.encoders.hf:open_hf",
        "checkpoint": "mmsearch.encoders.checkpoint:open_checkpoint",
    },
    extras={"torch": "torch", "open_clip": "torch", "transformers": "torch"},
)


def load_encoder(
    spec: str,
    *,
    threads: int | None = None,
    device: str | None = None,
    towers: Towers = "both",
) -> Encoder:
    """Return the encoder that `spec` names.

    Nothing is fetched but for a hub repository that the spec names and that is not in the local
    cache yet.

    Args:
        spec: `auto`, `color`, `starter`, `onnx:DIR`, `onnx:ORG/REPO`, `open_clip:ARCH/TAG`,
            `hf:DIR`, `hf:ORG/REPO`, `checkpoint:DIR`, a name that `mmsearch models add` gave, or
            what a third party has registered.
        threads: CPU threads for the model; None: the cores that this process may use.
        device: "cpu", "cuda", "cuda:1", "mps"; None: the best for that back end.
        towers: which tower will be called first: a hint, by which a tower in ONNX is loaded beside
            what the caller does next. "text" favours a short first call over a high throughput.
            The other tower still works.

    Raises:
        UnknownName: no encoder has that name.
        MissingExtra: it needs an optional part of mmsearch.
        ModelUnavailable: its files are missing, broken, or cannot be fetched; or the device is
            not there.
    """
    name, colon, argument = resolve_model(spec).partition(":")
    try:
        factory = ENCODERS.make(name)
    except UnknownName as error:
        if colon:
            raise
        from mmsearch.encoders.named import read_named

        raise UnknownName("encoder", name, [*error.known, *read_named()]) from None
    return factory(argument, threads=threads, device=device, towers=towers)


def resolve_model(spec: str) -> str:
    """Return the spec to load and to record: it means the same later, and from any folder.

    `auto` becomes the first recommended hub model that is cached in full, else `starter`; it never
    goes to the network. A name that the user has given becomes what it stands for, a folder or
    file that is there an absolute path. Any other spec comes back as it is, known or not.

    Raises:
        ModelUnavailable: the list of the user's names is damaged.
    """
    if spec == "auto":
        from mmsearch.encoders import hub

        return next((s for s in RECOMMENDED if hub.cached_bundle(s.partition(":")[2])), FALLBACK)
    if ":" in spec:
        return _absolute(spec)
    if spec in BARE:
        return spec
    from mmsearch.encoders.named import read_named

    named = read_named().get(spec)
    return named.spec if named else spec


def _absolute(spec: str) -> str:
    name, _, place = spec.partition(":")
    before = f"{name}:"
    if name == "open_clip":
        arch, _, place = place.partition("/")
        before += f"{arch}/"
    elif name not in ("onnx", "hf", "checkpoint"):
        return spec
    if not place or not os.path.exists(path := os.path.expanduser(place)):  # noqa: PTH110, PTH111
        return spec
    return before + os.path.abspath(path)  # noqa: PTH100 - links stay links


__all__ = [
    "ENCODERS",
    "FALLBACK",
    "RECOMMENDED",
    "STARTER",
    "Towers",
    "load_encoder",
    "resolve_model",
]
