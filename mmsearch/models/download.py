"""A model's files out of the hub into the local cache, ahead of their use."""

from __future__ import annotations

from pathlib import Path

from mmsearch.encoders import ENCODERS, RECOMMENDED, load_encoder
from mmsearch.encoders.bundle import read_bundle
from mmsearch.errors import ModelUnavailable, UnknownName


def download_model(spec: str) -> Path | None:
    """Fetch a model if it is not here; return its folder, None if its library keeps it.

    Args:
        spec: `onnx:ORG/REPO`, `hf:ORG/REPO`, `open_clip:ARCH/TAG`, or `auto`: the best that
            `auto` would choose if it were here.

    Raises:
        UnknownName: no encoder, architecture or tag has that name.
        MissingExtra: the model needs a part of mmsearch that is not installed.
        ModelUnavailable: it cannot be fetched, and why; or there is nothing to fetch.
    """
    name, _, argument = (RECOMMENDED[0] if spec == "auto" else spec).partition(":")
    if name == "onnx":
        from mmsearch.encoders.onnx import find_bundle

        return read_bundle(find_bundle(argument)).folder
    if name == "hf":
        ENCODERS.make("hf")  # says so if torch is missing
        from mmsearch.encoders.hf import _find

        return _find(argument)
    if name == "open_clip":
        load_encoder(spec, device="cpu")  # open_clip fetches weights and tokenizer as it loads
        return None
    if name not in ENCODERS.names():
        raise UnknownName("encoder", name, ENCODERS.names())
    raise ModelUnavailable(
        f"{spec} has nothing to download; onnx:ORG/REPO, hf:ORG/REPO and open_clip:ARCH/TAG have"
    )
