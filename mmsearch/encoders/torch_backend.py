"""What the torch encoders share: device, number format, batching, unit rows.

Import it only where torch is meant to be loaded: that takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from index_store.types import Space, Vectors
from mmsearch.cores import usable_cores
from mmsearch.encoders.rows import unit_rows
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

TEXTS_AT_ONCE = 64
ON_A_CARD = 64  # pictures to a call there; a CPU gains nothing from more than 16


@dataclass(frozen=True, slots=True)
class DualModel:
    """A model as its back end has loaded it: on the CPU, in the precision of its files.

    name: its space's name, with the hash of its weights. images: (n, 3, S, S) -> (n, dim);
    texts: what `tokenize` gave, on the model's device -> (n, dim). tokenizer: the back end's own
    object behind `tokenize`, which export writes to a file.
    """

    name: str
    module: torch.nn.Module
    images: Callable[[torch.Tensor], torch.Tensor]
    texts: Callable[[dict[str, torch.Tensor]], torch.Tensor]
    tokenize: Callable[[list[str]], dict[str, torch.Tensor]]
    preprocess: Callable[[Image], Array]
    image_size: int
    tokenizer: Any = None


class TorchEncoder:
    """A dual encoder in torch, in eval mode.

    Weights are bfloat16 on a GPU that has it, float16 on one that has not, float32 on the CPU:
    autocast to bfloat16 on a CPU was measured 7 times slower than none. `batch`: pictures that suit
    one call; None where it does not matter.

    Args:
        model: what a back end has loaded; it is moved to the device and converted in place.
        threads: CPU threads, for the whole process; None: the cores that it may use.
        device: "cpu", "cuda", "cuda:N", "mps"; None: the best there is.

    Raises:
        ModelUnavailable: no such device, or the model gives no usable vectors.
    """

    def __init__(self, model: DualModel, *, threads: int | None, device: str | None) -> None:
        torch.set_num_threads(threads or usable_cores())
        self.device = pick_device(device)
        self.dtype = pick_dtype(self.device)
        self.model = model
        model.module.eval().requires_grad_(False).to(device=self.device, dtype=self.dtype)
        self.image_size = model.image_size
        self.batch = ON_A_CARD if self.device.type == "cuda" else None
        # A text says how long the vectors are, in every family of models and for little.
        dim = int(self._texts(["a"]).shape[1])
        self.space = Space(name=model.name, dim=dim)

    def prepare(self, image: Image) -> Array:
        """Return (3, size, size) float32, as the model's own processor would. Thread-safe."""
        return self.model.preprocess(image)

    def encode_images(self, batch: Array) -> Vectors:
        """Return (n, dim) float32 unit rows for (n, 3, size, size) prepared pictures.

        Raises:
            ModelUnavailable: the model's output is NaN, infinite or zero.
        """
        if not len(batch):
            return np.empty((0, self.space.dim), dtype=np.float32)
        pixels = torch.from_numpy(np.ascontiguousarray(batch))
        card = self.device.type == "cuda"
        layout = torch.channels_last if card else torch.contiguous_format
        if card:  # pages that cannot be swapped: the card fetches them by itself
            pixels = pixels.pin_memory()
        with torch.inference_mode():
            moved = pixels.to(
                device=self.device, dtype=self.dtype, memory_format=layout, non_blocking=card
            )
            raw = _to_numpy(self.model.images(moved))
        return unit_rows(raw, dim=self.space.dim, model=self.space.name)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 unit rows for n texts; overlong texts are cut.

        Raises:
            ModelUnavailable: the model's output is NaN, infinite or zero.
        """
        rows = [np.empty((0, self.space.dim), dtype=np.float32)]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            raw = self._texts(list(texts[start : start + TEXTS_AT_ONCE]))
            rows.append(unit_rows(raw, dim=self.space.dim, model=self.space.name))
        return np.concatenate(rows)

    def _texts(self, texts: list[str]) -> Array:
        tokens = self.model.tokenize(texts)
        with torch.inference_mode():
            moved = {name: ids.to(self.device) for name, ids in tokens.items()}
            return _to_numpy(self.model.texts(moved))


def pick_device(device: str | None) -> torch.device:
    """Return the device to run on; None: CUDA, else Apple's MPS, else the CPU.

    Raises:
        ModelUnavailable: there is no such device here.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelUnavailable(f"no device is called {device!r}: cpu, cuda, cuda:N, mps") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(chosen.type, False):
        raise ModelUnavailable(f"device {device!r} is not there for this torch; use --device cpu")
    return chosen


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return the number format for the weights on `device`."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float32


def as_tensor(output: Any, model: str) -> torch.Tensor:
    """Return the vectors of a tower's output: transformers 4 gives them bare, 5 in an object.

    Raises:
        ModelUnavailable: there are none in it.
    """
    vectors = output if isinstance(output, torch.Tensor) else getattr(output, "pooler_output", None)
    if not isinstance(vectors, torch.Tensor):
        raise ModelUnavailable(f"model {model} gives no single vector for a picture or a text")
    return vectors


def _to_numpy(rows: torch.Tensor) -> Array:
    array: Array = rows.float().cpu().numpy()
    return array
