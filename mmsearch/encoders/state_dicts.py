"""The tensors of a file of weights by their names. Nothing but tensors is ever loaded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from mmsearch.errors import ModelUnavailable

_INNER = ("model", "state_dict", "model_state_dict")  # under which training scripts put them


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, on the CPU: a .safetensors, or what `torch.save` wrote of a
    state dict.

    A dict that holds the state dict as "model" or "state_dict" is looked into; the "module." that
    parallel training puts before every name is taken off.

    Raises:
        ModelUnavailable: there is no such file, it is damaged, holds more than tensors, or none.
    """
    if not path.is_file():
        raise ModelUnavailable(f"there is no file of weights {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(
            f"{path} holds more than tensors, or is damaged; code in a file is never run: save "
            "its state_dict alone, or as .safetensors"
        ) from error
    except Exception as error:
        # torch and safetensors raise a dozen classes for a file that is none of theirs.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(f"{path} cannot be read as weights: {reason[0]}") from error
    for name in _INNER:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    tensors = found if isinstance(found, dict) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ModelUnavailable(f"{path} holds no state_dict: tensors by their names")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return dict(tensors)
