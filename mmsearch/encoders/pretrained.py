"""A transformers model and its processor from a folder, or one clear error."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoProcessor

from mmsearch.cores import usable_cores
from mmsearch.encoders import hub
from mmsearch.encoders.torch_backend import pick_device, pick_dtype
from mmsearch.errors import ModelUnavailable

PATTERNS = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode on its device, its processor, and where it came from."""

    model: Any
    processor: Any
    device: torch.device
    folder: Path

    def inputs(self, **given: Any) -> dict[str, Any]:
        """Return the processor's tensors on the model's device and in its number format."""
        made = self.processor(return_tensors="pt", **given)
        return self.moved(made)

    def moved(self, made: Any) -> dict[str, Any]:
        dtype = next(self.model.parameters()).dtype
        return {
            name: value.to(self.device, dtype if value.is_floating_point() else None)
            for name, value in made.items()
        }


def load(
    kind: Any, argument: str, *, spec: str, model_type: str | None, threads: int | None,
    device: str | None, processor: Any = AutoProcessor,
) -> Loaded:  # fmt: skip
    """Return a model of a class of transformers.

    Never code from a repository, never a pickle.

    Args:
        kind: its class, or an Auto class.
        argument: a folder, or a hub repository (fetched once).
        spec: what stands before the argument on the command line, for messages.
        model_type: what its config must say; None: whatever `kind` takes.
        threads: CPU threads; None: the cores that this process may use.
        device: as `pick_device` takes it.
        processor: the class of its processor.

    Raises:
        ModelUnavailable: it is not to be had, is damaged, needs code of its own, or is of
            another sort; no such device.
    """
    folder = find_folder(argument, spec)
    where = pick_device(device)
    if where.type == "cpu":
        torch.set_num_threads(threads or usable_cores())
    own = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(), one_error(folder):
        found = AutoConfig.from_pretrained(folder, **own).model_type
        if model_type is not None and found != model_type:
            raise ModelUnavailable(f"{folder} holds a {found!r} model, not a {model_type!r} one")
        model, report = kind.from_pretrained(
            folder, **own, use_safetensors=True, dtype=pick_dtype(where), output_loading_info=True
        )
        _check_complete(folder, report)
        made = processor.from_pretrained(folder, **own)
    return Loaded(model.to(where).eval(), made, where, folder)


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """Run a model; what it raises about its input comes out as ModelUnavailable, out of memory
    as itself."""
    try:
        with torch.inference_mode():
            yield
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelUnavailable(
            f"the model in {folder} refuses its input; its processor or tokenizer belongs to "
            f"another model: {_first_line(error)}"
        ) from error


def _has_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def find_folder(
    argument: str, spec: str, *, complete: Callable[[Path], bool] = _has_weights,
    patterns: Sequence[str] = PATTERNS,
) -> Path:  # fmt: skip
    """Return the folder that an argument names; a hub repository's is fetched once.

    Args:
        argument: a folder, or ORG/REPO.
        spec: what stands before it on the command line, for messages.
        complete: whether a repository's folder has all that is needed.
        patterns: which of its files to fetch.

    Raises:
        ModelUnavailable: there is no such folder, or the repository is not to be had.
    """
    folder = Path(argument).expanduser()
    if argument and folder.is_dir():
        return folder
    if not hub.is_repo(argument):
        raise ModelUnavailable(
            f"model folder {argument or '(none given)'} does not exist; write {spec}DIR or "
            f"{spec}ORG/REPO"
        )
    return hub.snapshot(argument, complete=complete, patterns=patterns)


def _check_complete(folder: Path, report: dict[str, Any]) -> None:
    """Refuse a model some of whose weights were made up, as for another task's head."""
    missing = sorted(report.get("missing_keys") or ())
    if missing:
        raise ModelUnavailable(
            f"{folder} lacks {len(missing)} of the model's weights ({missing[0]} ...): it was "
            "saved for another task"
        )


@contextmanager
def one_error(folder: Path) -> Iterator[None]:
    """Load a model; whatever is raised about its files comes out as ModelUnavailable."""
    try:
        yield
    except ModelUnavailable:
        raise
    except pickle.UnpicklingError as error:
        raise ModelUnavailable(f"the weights in {folder} hold more than tensors") from error
    except Exception as error:
        # transformers and safetensors raise a dozen classes for a folder that is not a model's.
        raise ModelUnavailable(
            f"{folder} holds no model that loads: {_first_line(error)}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and its table of missing weights, which is our error, off stderr."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
