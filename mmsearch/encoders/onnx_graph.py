"""An ONNX graph on disk, its large weights in one file beside it. Needs onnx, no torch."""

from __future__ import annotations

from pathlib import Path
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
