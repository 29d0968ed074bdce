"""An ONNX graph on disk, its large weights in one file beside it. Needs onnx, no torch."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

SMALL = 1024  # bytes; larger tensors lie beside the graph, to be mapped rather than read


def data_path(path: Path) -> Path:
    """Return where the large weights of the graph at `path` lie."""
    return path.with_name(path.name + ".data")


def save_graph(graph: Any, path: Path) -> None:
    """Write a graph as `path`, its large weights in `path`.data; files of these names are lost.

    Raises:
        OSError: the folder cannot be written.
    """
    data = data_path(path)
    data.unlink(missing_ok=True)  # the writer appends
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


def name_domains_once(model: Any) -> None:
    """Leave out operator sets that are named again, as onnx does that joins two graphs: the
    quantiser takes these for none."""
    once: dict[str, int] = {}
    for entry in model.opset_import:
        once.setdefault(entry.domain, entry.version)
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in once.items())


def optimised(path: Path) -> Any:
    """Return the graph as ONNX Runtime simplifies it for any CPU: that work at no load again."""
    import onnxruntime as ort

    with TemporaryDirectory() as folder:
        simple = Path(folder) / "model.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(simple)
        # beside the graph: a protobuf ends at 2 GB
        place = "session.optimized_model_external_initializers_"
        options.add_session_config_entry(f"{place}file_name", data_path(simple).name)
        options.add_session_config_entry(f"{place}min_size_in_bytes", str(SMALL))
        # not further: ENABLE_ALL writes a layout for this machine's CPU into the file
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(str(simple))
    # The writer names every domain it knows; another version need not know them all.
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model
