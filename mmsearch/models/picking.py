"""A vision tower that keeps one token of its last block, and computes only that one there.

Most ViTs end with `tokens[:, 0]`, the class token. What comes before it token by token, back to
the last block's attention, is computed for all and thrown away. So the choice of the token is
moved up through what works token by token; the vectors stay the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

PICKED = "_picked"
TOKENS = 1  # the axis
ROWS = {
    "Cast", "Erf", "Gelu", "Identity", "LayerNormalization", "QuickGelu", "Relu", "Sigmoid", "Sqrt",
    "Tanh",
}  # fmt: skip
PAIRS = {"Add", "Div", "Mul", "Pow", "Sub"}


def pick_early(model: Any) -> bool:
    """Move the choice of one token up as far as nothing is computed twice; say whether it moved.

    Args:
        model: an ONNX graph, changed in place.
    """
    graph = model.graph
    values = _constants(graph)
    for at, node in enumerate(graph.node):
        if node.op_type != "Gather" or _attribute(node, "axis", 0) != TOKENS:
            continue
        if (index := values.get(node.input[1])) is None or index.shape != ():
            continue
        if moved := _moved(graph, at, values):
            _rewrite(graph, at, int(index), moved)
            return True
    return False


def _moved(graph: Any, at: int, values: dict[str, Any]) -> dict[int, list[int]]:
    """Return the nodes before the choice that are wanted for one token alone, and at which of
    their inputs that token is chosen first."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    picks = Counter([graph.node[at].input[0]])
    moved = {}
    for number in reversed(range(at)):
        node = graph.node[number]
        if len(node.output) != 1 or not 0 < uses[node.output[0]] == picks[node.output[0]]:
            continue  # asked for whole by another
        if places := _by_token(node, values):
            moved[number] = places
            picks.update(node.input[place] for place in places)
    return moved


def _by_token(node: Any, values: dict[str, Any]) -> list[int]:
    """Return the inputs that a node takes token by token, if it makes tokens that way; else []."""
    fixed = [values.get(name) for name in node.input]
    if node.op_type == "MultiHeadAttention":  # of queries; all keys and values are looked at
        return [0] if len(node.input) == 3 else []
    if node.op_type == "MatMul":
        return [0] if fixed[0] is None and fixed[1] is not None and fixed[1].ndim == 2 else []
    if node.op_type in ROWS:
        return [0] if _attribute(node, "axis", -1) == -1 else []
    if node.op_type in PAIRS and all(v is None or _of_all(v.shape) for v in fixed):
        return [place for place, value in enumerate(fixed) if value is None]
    return []


def _rewrite(graph: Any, at: int, index: int, moved: dict[int, list[int]]) -> None:
    from onnx import helper, numpy_helper

    one, first = (f"{what}{PICKED}" for what in ("index", "first"))
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in ((one, [index]), (first, 0))
    )
    nodes, picked = [], {graph.node[n].output[0] for n in moved}
    for number, node in enumerate(graph.node):
        for place in moved.get(number, ()):
            name = node.input[place]
            if name not in picked:
                nodes.append(helper.make_node("Gather", [name, one], [name + PICKED], axis=TOKENS))
                picked.add(name)
            node.input[place] = name + PICKED
        if number in moved:
            node.output[0] += PICKED
        elif number == at:  # (n, 1, width) now
            node.input[:] = [node.input[0] + PICKED, first]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]  # all but the old index
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _constants(graph: Any) -> dict[str, Any]:
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    values = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for node in graph.node:  # equal weights are written once, and named again so
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return values


def _of_all(shape: tuple[int, ...]) -> bool:
    """Return whether a constant of this shape is the same for every token."""
    return len(shape) < 2 or shape[-2] == 1


def _attribute(node: Any, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


__all__ = ["pick_early"]
