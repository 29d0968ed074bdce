"""The convolution that cuts a picture into patches, as the matrix product that it is.

Where the stride is the kernel's size no pixel is seen twice: the patches become rows, and the
kernel a matrix, which can be in 8 bits as the others (of a ViT-B/32: 1 instead of 3 ms a picture).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def patches_as_products(model: Any) -> Any:
    """Return the graph with such convolutions of its pictures replaced, in place.

    Those of another stride, padded, in groups, or over sizes that are not fixed stay.
    """
    from onnx import numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    sizes = {value.name: _fixed(value) for value in graph.input}
    nodes = []
    for node in graph.node:
        kernel = stored.get(node.input[1]) if node.op_type == "Conv" else None
        size = sizes.get(node.input[0], ()) if kernel else ()
        if kernel is None or not _cuts(node, list(kernel.dims), size):
            nodes.append(node)
            continue
        matrix = numpy_helper.to_array(kernel)
        matrix = np.ascontiguousarray(matrix.reshape(len(matrix), -1).T)
        kernel.CopyFrom(numpy_helper.from_array(matrix, kernel.name))
        made, shapes = _product(node, size, matrix.shape[1])
        nodes += made
        graph.initializer.extend(shapes)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _fixed(value: Any) -> tuple[int, ...]:
    """Return channels, height and width of an input; () unless they are fixed."""
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return tuple(dims[1:]) if len(dims) == 4 and all(dims[1:]) else ()


def _cuts(node: Any, kernel: list[int], size: tuple[int, ...]) -> bool:
    from onnx import helper

    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    side = kernel[2:]
    return (
        len(size) == 3
        and len(side) == 2
        and kernel[1] == size[0]
        and said.get("strides") == side
        and not any(said.get("pads", ()))
        and set(said.get("dilations", [1])) == {1}
        and said.get("group", 1) == 1
        and said.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and size[1] % side[0] == 0
        and size[2] % side[1] == 0
    )


def _product(node: Any, size: tuple[int, ...], width: int) -> tuple[list[Any], list[Any]]:
    """Return the nodes in its place, and the shapes that they use."""
    from onnx import helper, numpy_helper

    channels, height, across = size
    strides = next(a for a in node.attribute if a.name == "strides").ints
    rows, columns = height // strides[0], across // strides[1]
    base, shapes = f"{node.output[0]}_patches", []

    def reshaped(given: str, name: str, shape: list[int]) -> Any:
        shapes.append(numpy_helper.from_array(np.array(shape, np.int64), f"{base}_{name}_shape"))
        return helper.make_node("Reshape", [given, shapes[-1].name], [f"{base}_{name}"])

    def turned(given: str, output: str, order: list[int]) -> Any:
        return helper.make_node("Transpose", [given], [output], perm=order)

    cut = [-1, channels, rows, strides[0], columns, strides[1]]
    made = [
        reshaped(node.input[0], "cut", cut),
        turned(f"{base}_cut", f"{base}_apart", [0, 2, 4, 1, 3, 5]),
        reshaped(f"{base}_apart", "rows", [-1, rows * columns, channels * strides[0] * strides[1]]),
        helper.make_node("MatMul", [f"{base}_rows", node.input[1]], [f"{base}_product"]),
    ]
    last = f"{base}_product"
    if len(node.input) > 2 and node.input[2]:
        last = f"{base}_sum"
        made.append(helper.make_node("Add", [f"{base}_product", node.input[2]], [last]))
    made += [
        turned(last, f"{base}_channels", [0, 2, 1]),
        reshaped(f"{base}_channels", "grid", [-1, width, rows, columns]),
    ]
    made[-1].output[0] = node.output[0]
    return made, shapes
