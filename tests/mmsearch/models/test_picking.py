"""The last block of a vision tower, computed for the one token that is kept; onnx's own evaluator
says what graphs give."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from mmsearch.models.picking import PICKED, pick_early  # noqa: E402

N, TOKENS, WIDTH = 2, 5, 4
RNG = np.random.default_rng(0)
WEIGHTS = {
    "matrix": RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32),
    "bias": RNG.standard_normal(WIDTH).astype(np.float32),
    "places": RNG.standard_normal((TOKENS, WIDTH)).astype(np.float32),
    "index": np.array(3),
    "indices": np.array([3]),
    "half": np.array(0.5, np.float32),
}


def node(kind, inputs, output, **how):
    return helper.make_node(kind, inputs, [output], **how)


def graph(*nodes, outputs=("out",), weights=WEIGHTS):
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", TOKENS, WIDTH])
    sizes = {"out": ["n", WIDTH], "whole": ["n", TOKENS, WIDTH]}
    made = [helper.make_tensor_value_info(o, TensorProto.FLOAT, sizes[o]) for o in outputs]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    return helper.make_model(
        helper.make_graph(list(nodes), "g", [rows], made, held),
        opset_imports=[helper.make_opsetid("", 20)],
    )


BLOCK = [
    node("MatMul", ["x", "matrix"], "product"),
    node("Identity", ["bias"], "same"),
    node("Add", ["same", "product"], "sum"),
    node("Mul", ["sum", "half"], "less"),
    node("Gelu", ["less"], "bent"),
    node("Add", ["bent", "x"], "whole"),
    node("LayerNormalization", ["whole", "bias"], "normal"),
]
LAST = node("Gather", ["normal", "index"], "out", axis=1)


def given(model):
    x = np.random.default_rng(1).standard_normal((N, TOKENS, WIDTH)).astype(np.float32)
    return ReferenceEvaluator(model).run(None, {"x": x})


def test_one_token_goes_through_the_block_and_comes_out_the_same():
    model = graph(*BLOCK, LAST)
    before = given(model)
    assert pick_early(model)
    onnx.checker.check_model(model)
    np.testing.assert_allclose(given(model)[0], before[0], atol=1e-6)
    assert before[0].shape == (N, WIDTH)
    gathered = [n.input[0] for n in model.graph.node if n.op_type == "Gather"]
    assert gathered == ["x", f"normal{PICKED}"]  # at the very start, once for both ways
    assert not {t.name for t in model.graph.initializer} & {"index"}  # nobody asks for it now


def test_what_another_wants_whole_is_computed_whole():
    model = graph(*BLOCK, LAST, outputs=("out", "whole"))
    before = given(model)
    assert pick_early(model)
    for got, wanted in zip(given(model), before, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    gathered = [n.input[0] for n in model.graph.node if n.op_type == "Gather"]
    assert gathered == ["whole", f"normal{PICKED}"]


@pytest.mark.parametrize(
    "mixing",
    [
        node("Add", ["whole", "places"], "mixed"),  # another constant for each token
        node("Softmax", ["whole"], "mixed", axis=1),
        node("LayerNormalization", ["whole", "places"], "mixed", axis=1),
        node("MatMul", ["mix", "whole"], "mixed"),
    ],
)
def test_it_stops_at_what_is_not_the_same_for_every_token(mixing):
    weights = WEIGHTS | {"mix": RNG.standard_normal((TOKENS, TOKENS)).astype(np.float32)}
    nodes = [*BLOCK[:-1], mixing, node("MatMul", ["mixed", "matrix"], "normal"), LAST]
    model = graph(*nodes, weights=weights)
    before = given(model)
    assert pick_early(model)
    np.testing.assert_allclose(given(model)[0], before[0], atol=1e-6)
    gathered = [n.input[0] for n in model.graph.node if n.op_type == "Gather"]
    assert gathered == ["mixed", f"normal{PICKED}"]


@pytest.mark.parametrize(
    "last",
    [
        node("Gather", ["normal", "index"], "out", axis=2),
        node("Gather", ["normal", "indices"], "out", axis=1),
        node("ReduceMean", ["normal"], "out", keepdims=0),
    ],
)
def test_what_does_not_choose_one_token_stays(last):
    model = graph(*BLOCK, last)
    whole = model.SerializeToString()
    assert not pick_early(model)
    assert model.SerializeToString() == whole


def test_a_choice_that_cannot_move_stays():
    model = graph(node("Softmax", ["x"], "normal", axis=1), LAST)
    whole = model.SerializeToString()
    assert not pick_early(model)
    assert model.SerializeToString() == whole
