"""Patches as products: the same numbers as the convolution."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from mmsearch.models.patches import patches_as_products  # noqa: E402


def convolution(*, bias=True, size=(3, 8, 12), **how):
    """A graph of one convolution, 5 patterns of 4 x 2 pixels; `how` are its attributes."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((5, 3 // how.get("group", 1), 4, 2)).astype(np.float32)
    stored = [numpy_helper.from_array(kernel, "kernel")]
    if bias:
        stored.append(numpy_helper.from_array(np.arange(5, dtype=np.float32), "bias"))
    how = {"kernel_shape": [4, 2], "strides": [4, 2]} | how
    node = helper.make_node("Conv", ["x", *(t.name for t in stored)], ["y"], **how)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *size])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [given], [result], stored)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("bias", [True, False])
def test_patches_give_the_numbers_of_the_convolution(bias):
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 12)).astype(np.float32)
    expected = run(convolution(bias=bias), x)
    model = patches_as_products(convolution(bias=bias))
    assert "Conv" not in [node.op_type for node in model.graph.node]
    np.testing.assert_allclose(run(model, x), expected, atol=1e-5)


@pytest.mark.parametrize(
    "how",
    [
        {"strides": [2, 2]},
        {"pads": [0, 1, 0, 1]},
        {"size": (3, 9, 12)},
        {"size": (3, "high", "wide")},
        {"dilations": [1, 2]},
        {"auto_pad": "SAME_UPPER"},
    ],
)
def test_any_other_convolution_stays(how):
    model = patches_as_products(convolution(**how))
    assert [node.op_type for node in model.graph.node] == ["Conv"]
