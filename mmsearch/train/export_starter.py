"""The starter model as an ONNX bundle: two graphs with their weights stored narrow.

Narrow only on disk (float16; the word table and large matrices of picture heads int8): every weight
is widened to float32 where it is used, so that the arithmetic is float32 on any CPU. (int8 products
differ between CPUs with and without VNNI.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from mmsearch.encoders.onnx_graph import optimised, save_graph
from mmsearch.encoders.onnx_writer import write_tower
from mmsearch.encoders.weights import bundle_hash
from mmsearch.train.starter_image import fix_padding
from mmsearch.train.starter_towers import (
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    MEAN,
    STD,
    ImageBase,
    load_image_tower,
    load_tokenizer,
)

if TYPE_CHECKING:
    from mmsearch.train.starter import Model

NAME = "starter-1"
STORED = "float16, word table and large head layers int8; arithmetic in float32"
SMALL = 1024  # tensors of fewer elements stay float32: biases, norms
LARGE = 2**20  # matrices of as many become int8: heads that see thousands of features


class _Visual(nn.Module):
    def __init__(self, base: ImageBase, model: Model) -> None:
        super().__init__()
        self.base, self.top, self.head = base, model.top, model.image_head

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(self.top(self.base(image)))
        return out


class _Textual(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.text, self.head = model.text, model.text_head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        out: Tensor = self.head(self.text(input_ids, attention_mask))
        return out


def export(model: Model, out: Path, *, resize_mode: str) -> None:
    """Write the bundle that `onnx:OUT` and `starter` read, its README.md aside.

    Args:
        resize_mode: "shortest" or "squash"; what the pictures were prepared with.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        OSError: the folder cannot be written.
    """
    for tower in ("visual", "textual"):
        (out / tower).mkdir(parents=True, exist_ok=True)
    model = model.float().eval().to(memory_format=torch.contiguous_format)
    pixels = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    base = load_image_tower()[0]
    fix_padding(base, pixels)
    visual = _Visual(base, model)
    _write(visual, (pixels,), {"image": {0: "n"}}, out / "visual")
    ids = torch.ones(2, 12, dtype=torch.int64)
    axes = {"input_ids": {0: "n", 1: "length"}, "attention_mask": {0: "n", 1: "length"}}
    _write(_Textual(model), (ids, ids), axes, out / "textual")
    load_tokenizer().save(str(out / "textual" / "tokenizer.json"), pretty=False)
    cfg = {
        "size": [IMAGE_SIZE, IMAGE_SIZE],
        "mode": "RGB",
        "mean": [MEAN] * 3,
        "std": [STD] * 3,
        "interpolation": "bicubic",
        "resize_mode": resize_mode,
        "fill_color": 0,
    }
    _write_json(out / "visual" / "preprocess_cfg.json", cfg)
    config = {
        "name": NAME,
        "dim": model.image_head.dim,
        "image_size": IMAGE_SIZE,
        "context_length": CONTEXT_LENGTH,
        "weights_hash": bundle_hash(out),
        "normalized": True,
        "optimized": ["textual"],
        "weights": STORED,
        "license": "weights trained on Flickr8k: research and non-commercial use; see README.md",
    }
    _write_json(out / "config.json", config)


def _write(
    module: nn.Module, example: tuple[Tensor, ...], axes: dict[str, dict[int, str]], folder: Path
) -> None:
    path = folder / "model.onnx"
    write_tower(path, module.eval(), module.forward, example, axes)
    save_narrow(optimised(path), path)


def save_narrow(graph: onnx.ModelProto, path: Path) -> None:
    """Write a graph with narrow weights, which lie beside it in one file."""
    store_narrow(graph)
    save_graph(graph, path)


def store_narrow(model: onnx.ModelProto) -> None:
    """Store the large float32 weights of a graph narrower, and widen them where they are used.

    A table that rows are gathered from becomes int8 with a scale a row, and only the rows in
    use are widened; a matrix of a head's LARGE layers becomes int8 with a scale a row; every
    other weight becomes float16 with a Cast.
    """
    graph = model.graph
    behind: dict[str, list[Any]] = {}  # by the first input of the node they follow
    front: list[Any] = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALL:
            continue
        name = tensor.name
        users = [node for node in graph.node if name in node.input]
        if values.ndim == 2 and all(n.op_type == "Gather" and n.input[0] == name for n in users):
            whole, scale = _in_bytes(values)
            tensor.CopyFrom(numpy_helper.from_array(whole, name))
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
            for node in users:
                behind[node.output[0]] = _widened(node, f"{name}.scale")
        elif values.size >= LARGE and all(n.op_type == "Gemm" for n in users):
            narrow, wide = f"{name}.int8", f"{name}.wide"
            whole, scale = _in_bytes(values)
            tensor.CopyFrom(numpy_helper.from_array(whole, narrow))
            graph.initializer.append(numpy_helper.from_array(scale, f"{narrow}.scale"))
            front.append(helper.make_node("Cast", [narrow], [wide], to=TensorProto.FLOAT))
            front.append(helper.make_node("Mul", [wide, f"{narrow}.scale"], [name]))
        else:
            half = f"{name}.half"
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), half))
            front.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    nodes = list(front)
    for node in graph.node:
        made = node.output[0]
        nodes += behind.get(made, [node])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _in_bytes(values: Any) -> tuple[Any, Any]:
    """Return int8 rows and the float32 scale of each."""
    scale = np.abs(values).max(1, keepdims=True).astype(np.float32) / 127 + 1e-12
    return np.rint(values / scale).astype(np.int8), scale


def _widened(gather: Any, scale: str) -> list[Any]:
    """Return the nodes in place of a Gather of float rows: int8 rows times their scales."""
    table, index = gather.input
    made = gather.output[0]
    return [
        helper.make_node("Gather", [table, index], [f"{made}.int8"]),
        helper.make_node("Cast", [f"{made}.int8"], [f"{made}.wide"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [scale, index], [f"{made}.scale"]),
        helper.make_node("Mul", [f"{made}.wide", f"{made}.scale"], [made]),
    ]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
