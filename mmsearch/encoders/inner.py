"""What a tower of an ONNX bundle knows on its way: feature maps and word tokens.

A graph gives the values that it declares as outputs. Any other value of it can be had by one
more declaration, and since a protocol buffer that is appended to another is merged with it, that
takes a few bytes and no package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from mmsearch.cores import usable_cores
from mmsearch.encoders.sessions import session_options
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array

# Names as torch's exporter gives them to the starter's architecture; {} is the number of a layer.
STAGES = (r"blocks\.4/blocks\.4\.{}/Add_output_0", r"blocks\.5/blocks\.5\.{}/Add_output_0")
LAST_MAP = r"top/top\.1/Clip_output_0"
WORDS = r"encoder/layer\.{}/output/LayerNorm/LayerNormalization_output_0"

_GRAPH, _OUTPUT, _NAME = 7, 12, 1  # fields of ModelProto, GraphProto, ValueInfoProto (onnx.proto)


def inner_name(path: Path, pattern: str) -> str | None:
    """Return the name of a value in a graph, of its highest layer; None if there is none.

    Of several towers in one graph it is the first's own: the others lie a level deeper.

    Args:
        path: of the graph.
        pattern: of the name's end, with {} for a number or without.
    """
    end = pattern.replace("{}", r"(\d+)").encode()
    found = list(re.finditer(rb"/(?:[\w.]+/)*" + end, path.read_bytes()))
    if not found:
        return None
    best = max(found, key=lambda m: (-m[0].count(b"/"), int(m[1]) if m.lastindex else 0))
    return best[0].decode()


class InnerTower:
    """A tower that gives values from its inside. Thread-safe.

    Args:
        path: of the graph.
        names: of the values.
        own: whether the tower's own output is wanted too, after them.
        threads: None: the cores that this process may use.

    Raises:
        ModelUnavailable: the graph does not load, or has no value of such a name.
    """

    def __init__(
        self, path: Path, names: Sequence[str], *, own: bool = False, threads: int | None = None
    ) -> None:
        self._path, self._names = path, list(names)
        options = session_options(threads=threads or usable_cores(), optimized=False, brief=False)
        # The graph is given as bytes, so where its weights lie has to be said.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent.resolve())
        )
        try:
            graph = path.read_bytes() + as_outputs(names)
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            if not isinstance(error, OSError) and "onnxruntime" not in type(error).__module__:
                raise
            raise ModelUnavailable(
                f"{path} does not give {', '.join(names)} from its inside: {error}"
            ) from error
        if own:
            self._names.append(self._session.get_outputs()[0].name)

    def run(self, **given: Array) -> list[Array]:
        """Return the values, each of n rows.

        Raises:
            ModelUnavailable: the graph refuses the inputs.
        """
        inputs = {name: np.ascontiguousarray(value) for name, value in given.items()}
        try:
            found: list[Array] = self._session.run(self._names, inputs)
        except Exception as error:
            if "onnxruntime" not in type(error).__module__:
                raise
            raise ModelUnavailable(f"{self._path} refuses its input: {error}") from error
        return found


def as_outputs(names: Sequence[str]) -> bytes:
    """Return what, written behind a serialised ONNX model, makes these values outputs of it."""
    declared = b"".join(_field(_OUTPUT, _field(_NAME, name.encode())) for name in names)
    return _field(_GRAPH, declared)


def _field(number: int, data: bytes) -> bytes:
    """Return a length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
