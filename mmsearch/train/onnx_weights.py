"""The weights in an ONNX graph, as float32, under the names of the module that it came from.

However they are stored: half precision with a Cast, 8 bits with a scale a row, transposed for a
MatMul, folded with a batch norm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from mmsearch.errors import ModelUnavailable

Weights = npt.NDArray[np.float32]
_CONVOLUTIONS = {"Conv", "FusedConv"}
_SCALE = ".scale"
_HALF, _BYTES = ".half", ".int8"


def read_graph(path: Path) -> tuple[dict[str, Weights], list[tuple[str, Weights, Weights]]]:
    """Return a graph's named weights, and its convolutions' (name, weight, bias) in order of use.

    Of two convolutions that do not wait for one another either may come first.

    The second factor of a MatMul has no name of its own in the graph; it gets that of its
    module, told by the node's output, and is turned as torch's Linear has it.

    Raises:
        ModelUnavailable: it cannot be read.
    """
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf, onnx and the system each raise their own
        raise ModelUnavailable(f"{path} cannot be read as ONNX: {error}") from error
    values = _constants(graph)
    named = dict(values)
    convolutions = []
    for node in graph.node:
        if node.op_type in _CONVOLUTIONS and node.input[1] in values:
            weight = values[node.input[1]]
            bias = values[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
            convolutions.append((node.input[1], weight, bias.astype(np.float32)))
        if node.op_type == "MatMul" and node.input[1] in values:
            # "/text/bert/encoder/layer.5/output/dense/MatMul_output_0"
            module = node.output[0].strip("/").rsplit("/", 1)[0].replace("/", ".")
            named[f"{module}.weight"] = np.ascontiguousarray(values[node.input[1]].T)
    return named, convolutions


def _constants(graph: Any) -> dict[str, Weights]:
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    values: dict[str, Weights] = {}
    for name, value in stored.items():
        if value.dtype == np.int8 and name + _SCALE in stored:
            value = value.astype(np.float32) * stored[name + _SCALE].astype(np.float32)
        if value.dtype in (np.float16, np.float32):
            values[name.removesuffix(_HALF).removesuffix(_BYTES)] = value.astype(np.float32)
    return values
