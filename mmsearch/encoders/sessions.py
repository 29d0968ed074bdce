"""One tower of a model in ONNX Runtime: opened with the settings that were measured to be best.

Measured on 2 EPYC cores, see docs/speed.md: no spinning (the decoding threads need the cores),
one inter-op thread, no prepacking where the tower is loaded for one query. Rows are shared out to
runs of a thread each rather than each product to several threads: those wait for one another at
every node, which cost 14 % of the processor's time, and more of the clock's on a busy machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

if os.environ.get("ORT_DISABLE_TELEMETRY") not in ("0", "false"):
    ort.disable_telemetry_events()  # where it was imported before mmsearch, and on Windows

RUNS = 4  # at once; each holds activations of its own

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


@dataclass(frozen=True, slots=True)
class TowerInput:
    """One input of a graph. shape: an int where it is fixed, else a name or None."""

    dtype: Any
    shape: tuple[int | str | None, ...]


class OrtTower:
    """A session and what it takes and gives. Thread-safe.

    Args:
        path: the .onnx file; weights beside it are found by it.
        dim: the vector length that the config promises.
        threads: in all, for the rows of one call.
        device: "cpu", "cuda", "cuda:N"; None: CUDA where this ONNX Runtime has it.
        optimized: the file needs no graph optimisation.
        brief: few runs are coming: a short load matters more than fast runs.

    Raises:
        ModelUnavailable: no ONNX model, not of this dimension, or the device is not there.
    """

    def __init__(
        self,
        path: Path,
        *,
        dim: int,
        threads: int,
        device: str | None,
        optimized: bool,
        brief: bool,
    ) -> None:
        self.path = path
        providers = _providers(device)
        self._runs = min(threads, RUNS) if providers == ["CPUExecutionProvider"] else 1
        options = session_options(threads=threads // self._runs, optimized=optimized, brief=brief)
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            _raise_if_foreign(error)
            raise ModelUnavailable(f"{path} is not a working ONNX model: {error}") from error
        self._check_device(device)
        self.inputs = {
            node.name: TowerInput(_TYPES.get(node.type), tuple(node.shape))
            for node in self._session.get_inputs()
        }
        self._output = self._pick_output(dim)

    def run(self, given: dict[str, Array]) -> Array:
        """Return (n, dim) raw rows for inputs of n rows each, cast to what the graph takes.

        A graph of a fixed batch size (Immich's have 1) is run as often as it takes.

        Raises:
            ModelUnavailable: the graph refuses the inputs: a tokenizer or a preprocessing that
                is not the model's own.
        """
        inputs = {
            name: np.ascontiguousarray(rows, dtype=self.inputs[name].dtype)
            for name, rows in given.items()
        }
        n = len(next(iter(inputs.values())))
        fixed = next(iter(self.inputs.values())).shape[:1]
        pad = fixed[0] if fixed and isinstance(fixed[0], int) else 0
        step = pad or max(1, -(-n // self._runs))
        if step == n:
            return self._run(inputs)
        parts = [
            {name: _fill(rows[start : start + step], pad) for name, rows in inputs.items()}
            for start in range(0, n, step)
        ]
        return np.concatenate(list(self._pool.map(self._run, parts)))[:n]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(self._runs, thread_name_prefix="encode")

    def _run(self, inputs: dict[str, Array]) -> Array:
        try:
            (rows,) = self._session.run([self._output], inputs)
        except Exception as error:
            _raise_if_foreign(error)
            raise ModelUnavailable(
                f"{self.path} refuses its input, so its tokenizer or its preprocessing belongs to "
                f"another model: {error}"
            ) from error
        result: Array = rows
        return result

    def _pick_output(self, dim: int) -> str:
        """Return the name of the output that holds one vector a row."""
        flat = [o for o in self._session.get_outputs() if len(o.shape) == 2]
        fitting = [o for o in flat if not isinstance(o.shape[1], int) or o.shape[1] == dim]
        if not fitting:
            shapes = {o.name: o.shape for o in self._session.get_outputs()}
            raise ModelUnavailable(
                f"{self.path} gives {shapes}, but its config says vectors of {dim} dimensions"
            )
        exact = [o for o in fitting if o.shape[1] == dim]
        return str((exact or fitting)[0].name)

    def _check_device(self, device: str | None) -> None:
        # ONNX Runtime goes on with the CPU, and a line in its log, when CUDA fails to start.
        used = self._session.get_providers()[0]
        if device is not None and device.startswith("cuda") and used != "CUDAExecutionProvider":
            raise ModelUnavailable(
                f"ONNX Runtime could not start CUDA for {self.path}; check the CUDA libraries, or "
                "use --device cpu"
            )


def session_options(*, threads: int, optimized: bool, brief: bool) -> ort.SessionOptions:
    """Return the settings of a tower's session."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings speak to those who export models
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if brief:
        # Prepacking copies every weight into the layout of the fastest matrix product.
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _providers(device: str | None) -> list[Any]:
    kind, _, number = (device or "").partition(":")
    has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    cuda = ("CUDAExecutionProvider", {"device_id": int(number) if number.isdigit() else 0})
    match kind:
        case "cpu":
            return ["CPUExecutionProvider"]
        case "cuda" if has_cuda:
            return [cuda, "CPUExecutionProvider"]
        case "":
            return [cuda, "CPUExecutionProvider"] if has_cuda else ["CPUExecutionProvider"]
        case "cuda":
            raise ModelUnavailable(
                "this ONNX Runtime has no CUDA: pip install onnxruntime-gpu in place of "
                "onnxruntime, use a torch model (open_clip:, hf:), or --device cpu"
            )
    raise ModelUnavailable(f"ONNX models run on cpu or cuda, not on {device!r}")


def _fill(rows: Array, step: int) -> Array:
    """Return `rows` made at least `step` long by repeating the last one."""
    short = max(0, step - len(rows))
    return np.concatenate([rows, np.repeat(rows[-1:], short, axis=0)]) if short else rows


def _raise_if_foreign(error: Exception) -> None:
    """Re-raise what is not ONNX Runtime's own: its errors share no base class but Exception."""
    if not type(error).__module__.startswith("onnxruntime"):
        raise error
