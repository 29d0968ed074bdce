"""8-bit matrix products for a tower in ONNX: smaller, and faster on a CPU, at some cost in quality.

ONNX Runtime's dynamic quantisation: weights are 8 bit, a scale for each column; what they are
multiplied with is rounded to 8 bits as it comes. Convolutions and tables stay as they are, but for
the one that cuts a picture into patches: that is a product, too.
"""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mmsearch.errors import ExportFailed
from mmsearch.models.patches import patches_as_products


def quantize(path: Path) -> int:
    """Rewrite a tower with 8-bit matrix products; return how many it has.

    Raises:
        ExportFailed: it cannot be read as ONNX, or ONNX Runtime cannot quantise it.
        ImportError: onnx is not installed.
        OSError: the folder cannot be written.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from mmsearch.encoders.onnx_graph import name_domains_once, save_graph

    with TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
        wide, narrow = Path(scratch) / "wide.onnx", Path(scratch) / "narrow.onnx"
        logging.disable(logging.WARNING)  # it advises a preprocessing that changes nothing here
        try:
            graph = onnx.load(str(path))
            name_domains_once(graph)
            plain = patches_as_products(_widened(graph))
            onnx.save_model(plain, str(wide), save_as_external_data=True)
            quantize_dynamic(
                wide,
                narrow,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                # 7 bits of the 8: without VNNI a CPU's sums of two full products overflow, and
                # the same model would give other vectors on another machine.
                reduce_range=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=True,
                extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1},
            )
            graph = onnx.load(str(narrow))
        except OSError:
            raise
        except Exception as error:  # protobuf, onnx and onnxruntime each raise their own
            raise ExportFailed(f"{path.parent.name} cannot be quantised: {error}") from error
        finally:
            logging.disable(logging.NOTSET)
    for old in path.parent.glob("*.data"):
        old.unlink()
    save_graph(graph, path)
    return sum(node.op_type == "MatMulInteger" for node in graph.graph.node)


def _widened(model: Any) -> Any:
    """Return the graph with matrices that are stored in half precision as plain float32.

    The starter stores them so, each with a Cast, behind which the quantiser sees no constant.
    """
    from onnx import TensorProto, numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    factors = {node.input[1] for node in graph.node if node.op_type in ("MatMul", "Gemm")}
    kept = []
    for node in graph.node:
        half = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if half is None or node.output[0] not in factors or half.data_type != TensorProto.FLOAT16:
            kept.append(node)
            continue
        wide = numpy_helper.to_array(half).astype(np.float32)
        half.CopyFrom(numpy_helper.from_array(wide, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return model
