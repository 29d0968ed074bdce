"""A torch model's two towers as ONNX graphs, the text tower for any length where it allows that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from torch import Tensor

from mmsearch.encoders.onnx_graph import data_path, save_graph
from mmsearch.encoders.onnx_writer import write_tower
from mmsearch.encoders.sessions import OrtTower
from mmsearch.errors import ExportFailed, ModelUnavailable
from mmsearch.models.attention import as_one_operator
from mmsearch.models.picking import pick_early
from mmsearch.models.tokenizers import MASK, pads_whole

if TYPE_CHECKING:
    from mmsearch.encoders.tokens import Tokens
    from mmsearch.encoders.torch_backend import DualModel

SHORT = ["a red car in the street", "two dogs"]
TINY = ["a", "the"]
EPSILON = 1e-4  # of a unit vector's components: float32 in another order of sums
ALLOWED = {MASK, "token_type_ids"}


@dataclass(frozen=True, slots=True)
class _Texts:
    """A text tower to be written: what to call, on what, and whether its length is free."""

    call: Callable[[dict[str, Tensor]], Tensor]
    example: dict[str, Tensor]
    free: bool


def write_images(dual: DualModel, path: Path) -> None:
    """Write the image tower.

    Raises:
        ExportFailed: torch's exporter cannot express it.
    """
    pixels = torch.zeros(2, 3, dual.image_size, dual.image_size)
    with as_one_operator(dual.module):
        _write(path, dual, dual.images, (pixels,), {"image": {0: "n"}})
    _pick_early(path, dual)


def _pick_early(path: Path, dual: DualModel) -> None:
    """Compute the last block for the token alone that is kept, if the vectors stay the same."""
    graph = onnx.load(str(path))
    if not pick_early(graph):
        return
    side = dual.image_size
    pixels = np.random.default_rng(0).standard_normal((2, 3, side, side)).astype(np.float32)
    with torch.inference_mode():
        given = dual.images(torch.from_numpy(pixels)).float()
        expected = torch.nn.functional.normalize(given, dim=-1).numpy()
    with TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
        picked, dim = Path(scratch) / path.name, expected.shape[1]
        save_graph(graph, picked)
        try:
            tower = OrtTower(picked, dim=dim, threads=1, device="cpu", optimized=False, brief=True)
            rows = tower.run({"image": pixels})
        except ModelUnavailable:
            return
        if np.allclose(rows / np.linalg.norm(rows, axis=1, keepdims=True), expected, atol=EPSILON):
            for file in (path, data_path(path)):
                (picked.parent / file.name).replace(file)


def write_texts(dual: DualModel, path: Path, tokens: Tokens) -> bool:
    """Write the text tower; return whether it takes texts of any length up to its own.

    Args:
        dual: float32, on the CPU.
        path: of the graph.
        tokens: the tokenizer as it was written, which says how long a text really is.

    Raises:
        ExportFailed: torch's exporter cannot express it, or it wants inputs that no bundle has.
    """
    texts = _free(dual, tokens) or _Texts(dual.texts, dual.tokenize(SHORT), free=False)
    if len(set(texts.example) - ALLOWED) != 1:
        raise ExportFailed(f"the text tower of {dual.name} takes {sorted(texts.example)}")
    if texts.free:
        _write_texts(dual, path, texts)
        if _agrees(dual, path, tokens, texts):
            return True
        # The exporter has taken the example's length for a constant.
        whole = dual.tokenize([*SHORT[:1], "a long one " * 2000])
        texts = _Texts(dual.texts, whole, free=False)
    _write_texts(dual, path, texts)
    return False


def _write_texts(dual: DualModel, path: Path, texts: _Texts) -> None:
    names = list(texts.example)
    axes = {0: "n", 1: "length"} if texts.free else {0: "n"}

    def call(*given: Tensor) -> Tensor:
        return texts.call(dict(zip(names, given, strict=True)))

    example = tuple(texts.example.values())
    _write(path, dual, call, example, {name: dict(axes) for name in names})


def _write(
    path: Path,
    dual: DualModel,
    call: Callable[..., Tensor],
    example: tuple[Tensor, ...],
    axes: dict[str, dict[int, str]],
) -> None:
    try:
        write_tower(path, dual.module, call, example, axes)
    except OSError:
        raise
    except Exception as error:  # what the exporter raises depends on what the model does
        raise ExportFailed(
            f"torch cannot write the {path.parent.name} tower of {dual.name} as ONNX: {error}"
        ) from error


def _free(dual: DualModel, tokens: Tokens) -> _Texts | None:
    """Return how to call the tower on texts that are not padded; None if that changes them."""
    given = dual.tokenize(SHORT)
    ids, mask = tokens(SHORT, whole=False)
    if not mask[:, 0].all():  # padded on the left: what is cut off below would be the text
        return None if pads_whole(dual) else _Texts(dual.texts, given, free=True)
    cut = {name: rows[:, : ids.shape[1]] for name, rows in given.items()}
    expected = _rows(dual.texts, given)
    for call in (dual.texts, *_sliced(dual)):
        try:
            rows = _rows(call, cut)
        except (RuntimeError, ValueError, IndexError):  # shapes that do not fit
            continue
        if np.allclose(rows, expected, atol=EPSILON / 10):
            return _Texts(call, cut, free=True)
    return None


def _sliced(dual: DualModel) -> Iterator[Callable[[dict[str, Tensor]], Tensor]]:
    """Yield open_clip's text tower with its positions and causal mask cut to the texts' length.

    A causal tower that takes the vector at the end of the text never sees the padding after it.
    """
    owner: Any = getattr(dual.module, "text", dual.module)
    if not isinstance(getattr(owner, "attn_mask", None), Tensor):
        return

    attention = [m for m in owner.modules() if isinstance(m, torch.nn.MultiheadAttention)]

    def call(tokens: dict[str, Tensor]) -> Tensor:
        length = tokens["text"].shape[1]
        # Found before what torch keeps under the same names; torch's own way to swap a module's
        # tensors (functional_call) refuses to be traced.
        owner.__dict__["positional_embedding"] = owner.positional_embedding[:length]
        owner.__dict__["attn_mask"] = owner.attn_mask[:length, :length]
        # Three products instead of a packed one, behind which the exporter takes the example's
        # length for a constant.
        hooks = [m.register_forward_pre_hook(lambda _, given: _apart(given)) for m in attention]
        try:
            return dual.texts(tokens)
        finally:
            del owner.__dict__["positional_embedding"], owner.__dict__["attn_mask"]
            for hook in hooks:
                hook.remove()

    yield call


def _apart(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.clone() for tensor in given)


def _agrees(dual: DualModel, path: Path, tokens: Tokens, texts: _Texts) -> bool:
    """Return whether the graph gives torch's vectors at a length other than the example's."""
    ids, mask = tokens(TINY, whole=False)
    dim = _rows(dual.texts, dual.tokenize(TINY)).shape[1]
    given = {
        name: mask if name == MASK else np.zeros_like(ids) if name in ALLOWED else ids
        for name in texts.example
    }
    try:
        tower = OrtTower(path, dim=dim, threads=1, device="cpu", optimized=False, brief=True)
        rows = tower.run(given)
    except ModelUnavailable:
        return False
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return bool(np.allclose(rows, _rows(dual.texts, dual.tokenize(TINY)), atol=EPSILON))


def _rows(call: Callable[[dict[str, Tensor]], Tensor], tokens: dict[str, Tensor]) -> Any:
    with torch.inference_mode():
        return torch.nn.functional.normalize(call(tokens).float(), dim=-1).numpy()
