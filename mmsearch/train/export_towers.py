"""Dual encoders as ONNX bundles: the layout of docs/models.md, weights in float32."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from mmsearch.encoders.bundle import read_bundle
from mmsearch.encoders.weights import bundle_hash

OPSET = 18
SMALL = 1024  # bytes; larger tensors lie beside the graph, to be mapped rather than read


class _Tower(nn.Module):
    """A function of a module as a module, which is what the exporter takes."""

    def __init__(self, module: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.call(*inputs)


def write_tower(
    path: Path,
    module: nn.Module,
    call: Callable[..., Tensor],
    example: tuple[Tensor, ...],
    axes: dict[str, dict[int, str]],
) -> None:
    """Write one tower as `path`, its large weights in `path`.data.

    Args:
        path: of the graph.
        module: holds the weights that `call` uses.
        call: from tensors as in `example` to (n, dim).
        example: one tensor an input; n of 2, as an exporter takes 1 for a constant.
        axes: the inputs' names in order, each with the names of its free dimensions.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.with_name(path.name + ".data")
    path.unlink(missing_ok=True)
    data.unlink(missing_ok=True)  # the writer appends
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of constants that the tracer takes for granted
            torch.onnx.export(
                _Tower(module, call).eval(),
                example,
                str(path),
                input_names=list(axes),
                output_names=["embedding"],
                dynamic_axes={**axes, "embedding": {0: "n"}},
                opset_version=OPSET,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    graph = onnx.load(str(path))
    onnx.save_model(
        graph,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
        size_threshold=SMALL,
    )
    if data.exists():
        data.chmod(0o644)  # onnx leaves it to its owner alone


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write the bundle's config.json, last of all: it holds the hash of the rest."""
    text = json.dumps({**config, "weights_hash": bundle_hash(folder)}, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


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
            "dim": module.image_head.linear.out_features,
            "image_size": bundle.image_size,
            "context_length": bundle.context_length,
            "clean": bundle.clean,
            "normalized": True,
            "license": bundle.license,
        },
    )
