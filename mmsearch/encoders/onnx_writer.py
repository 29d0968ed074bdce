"""The writing side of an ONNX bundle (docs/models.md): one tower, and config.json."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from mmsearch.encoders.onnx_graph import data_path, save_graph
from mmsearch.encoders.weights import bundle_hash

OPSET = 18


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
    *,
    opset: int = OPSET,
) -> None:
    """Write one tower as `path`, its large weights in `path`.data.

    Args:
        path: of the graph.
        module: holds the weights that `call` uses.
        call: from tensors as in `example` to (n, dim).
        example: one tensor an input; n of 2, as an exporter takes 1 for a constant.
        axes: the inputs' names in order, each with the names of its free dimensions.
        opset: of the graph.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    data_path(path).unlink(missing_ok=True)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of constants that the tracer takes for granted
            torch.onnx.export(
                _Tower(module, call).eval(),  # all of it: the exporter puts its mode back
                example,
                str(path),
                input_names=list(axes),
                output_names=["embedding"],
                dynamic_axes={**axes, "embedding": {0: "n"}},
                opset_version=opset,
                dynamo=False,
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    save_graph(onnx.load(str(path)), path)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write the bundle's config.json, last of all: it holds the hash of the rest."""
    text = json.dumps({**config, "weights_hash": bundle_hash(folder)}, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
