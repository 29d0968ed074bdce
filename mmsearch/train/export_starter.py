"""The starter model as an ONNX bundle: two graphs with their weights stored in half precision.

Half only on disk: every stored weight is cast back to float32 where it is used, so that the
arithmetic is float32 on any CPU. (int8 products differ between CPUs with and without VNNI.)
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

from mmsearch.encoders.weights import bundle_hash
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
OPSET = 18  # onnxruntime 1.20 knows up to 21
SMALL = 1024  # tensors of fewer elements stay float32: biases, norms


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
    visual = _Visual(load_image_tower()[0], model)
    pixels = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
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
        "dim": model.image_head.linear.out_features,
        "image_size": IMAGE_SIZE,
        "context_length": CONTEXT_LENGTH,
        "weights_hash": bundle_hash(out),
        "normalized": True,
        "weights": "float16, cast to float32 when loaded",
        "license": "weights trained on Flickr8k: research and non-commercial use; see README.md",
    }
    _write_json(out / "config.json", config)


def _write(
    module: nn.Module, example: tuple[Tensor, ...], axes: dict[str, dict[int, str]], folder: Path
) -> None:
    path = folder / "model.onnx"
    data = folder / "model.onnx.data"
    path.unlink(missing_ok=True)
    data.unlink(missing_ok=True)  # the writer appends
    torch.onnx.export(
        module.eval(),
        example,
        str(path),
        input_names=list(axes),
        output_names=["embedding"],
        dynamic_axes={**axes, "embedding": {0: "n"}},
        opset_version=OPSET,
        dynamo=False,
    )
    graph = onnx.load(str(path))
    store_half(graph)
    onnx.save_model(
        graph,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data.name,
        size_threshold=SMALL,
    )
    data.chmod(0o644)  # onnx leaves it to its owner alone


def store_half(model: onnx.ModelProto) -> None:
    """Change the large float32 weights of a graph to float16, each with a Cast where it is used.

    A table that rows are gathered from is cast after the Gather: only the rows in use.
    """
    graph = model.graph
    casts: list[Any] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < SMALL:
            continue
        name = tensor.name
        half = numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        tensor.CopyFrom(half)
        users = [node for node in graph.node if name in node.input]
        gathers = [n for n in users if n.op_type == "Gather" and n.input[0] == name]
        for node in gathers:
            node.input[0] = half.name
            made = node.output[0]
            node.output[0] = f"{made}.half"
            casts.append((node, helper.make_node("Cast", [node.output[0]], [made], to=1)))
        if len(gathers) < len(users):
            casts.append((None, helper.make_node("Cast", [half.name], [name], to=1)))
    _insert(graph, casts)


def _insert(graph: Any, casts: list[Any]) -> None:
    """Put each Cast behind its node, or in front of all; nodes must stay in order of use."""
    behind = {node.output[0]: cast for node, cast in casts if node is not None}
    nodes = [cast for node, cast in casts if node is None]
    for node in graph.node:
        nodes.append(node)
        if node.output[0] in behind:
            nodes.append(behind[node.output[0]])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
