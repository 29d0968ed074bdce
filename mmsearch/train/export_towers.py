"""A tuned starter as an ONNX bundle, weights in float32."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from mmsearch.encoders.bundle import read_bundle
from mmsearch.encoders.onnx_writer import write_config, write_tower


def write_starter(module: Any, source: Path, out: Path) -> None:
    """Write a `StarterModel` as a bundle.

    Args:
        module: on any device; it is left there.
        source: the bundle that it came from: its tokenizer and preprocessing are taken over.
        out: the folder.

    Raises:
        OSError: the folder cannot be written.
    """
    bundle = read_bundle(source)
    device = next(module.parameters()).device
    module.cpu().eval()
    pixels = torch.zeros(2, 3, bundle.image_size, bundle.image_size)
    write_tower(
        out / "visual" / "model.onnx", module, module.images, (pixels,), {"image": {0: "n"}}
    )
    ids = torch.ones(2, 12, dtype=torch.int64)
    free = {0: "n", 1: "length"}
    write_tower(
        out / "textual" / "model.onnx",
        module,
        lambda ids, mask: module.texts({"input_ids": ids, "attention_mask": mask}),
        (ids, ids),
        {"input_ids": free, "attention_mask": free},
    )
    module.to(device)
    for name in ("textual/tokenizer.json", "visual/preprocess_cfg.json"):
        shutil.copyfile(source / name, out / name)
    write_config(
        out,
        {
            "name": "starter-tuned",
            "dim": module.image_head.dim,
            "image_size": bundle.image_size,
            "context_length": bundle.context_length,
            "clean": bundle.clean,
            "normalized": True,
            "license": bundle.license,
        },
    )
