"""A picture's patches as a vision tower gives them: the same for any text, so they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import PIL
import torch
import transformers

from mmsearch.encoders.pretrained import Loaded
from mmsearch.rerankers.pairs import Tensors
from mmsearch.rerankers.places import Place
from mmsearch.rerankers.recall import Recall
from mmsearch.rerankers.seeing import Pixels, side_of
from mmsearch.rerankers.token_cache import TokenCache, Tokens
from mmsearch.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image


class KeptPatches:
    """Gives a family what it has made of pictures, from the disk where it is kept there.

    Args:
        loaded: of the family.
        name: of the re-ranker, with its weights' hash.
        look: returns one picture's pixels.
        finish: returns one row of tensors each for several pictures' pixels.
        threads: to open pictures; None: the cores that this process may use.
        cache: where to keep them; None: nowhere.
    """

    def __init__(
        self, loaded: Loaded, name: str, look: Callable[[Image], Tensors],
        finish: Callable[[Sequence[Tensors]], Sequence[Tensors]], threads: int | None,
        cache: TokenCache | None,
    ) -> None:  # fmt: skip
        side = side_of(loaded.processor)
        self._device = loaded.device
        self._pixels = Pixels(look, side, threads, finish)
        made_by = [
            name, loaded.processor.image_processor.to_json_string(), f"decoded for {side}",
            loaded.model.config.vision_config.to_json_string(),
            f"{loaded.model.dtype} on {loaded.device.type}",
            f"mmsearch {__version__}, torch {torch.__version__}",
            f"transformers {transformers.__version__}, Pillow {PIL.__version__}",
        ]  # fmt: skip
        self._recall = Recall(cache, made_by, threads)

    def __call__(self, places: Sequence[Place]) -> list[Tensors | None]:
        """Return what is kept of each picture; None where it does not open."""
        found = self._recall(places, self._made)
        return [None if one is None else self._tensors(one) for one in found]

    def _made(self, sources: Sequence[Any]) -> list[Tokens | None]:
        return [None if row is None else _arrays(row) for row in self._pixels.of(sources)]

    def _tensors(self, tokens: Tokens) -> Tensors:
        made = {name: torch.from_numpy(array) for name, array in tokens.items()}
        return {
            name: (one.view(torch.bfloat16) if one.dtype == torch.int16 else one).to(self._device)
            for name, one in made.items()
        }


def compact(patches: torch.Tensor) -> torch.Tensor:
    """Return a copy in half precision, unless a number is too large for it."""
    if patches.dtype == torch.float32:
        half = patches.half()
        if half.isfinite().all():
            return half
    return patches.clone()


def _arrays(row: Tensors) -> Tokens:
    """Return arrays; numpy has no bfloat16, whose bits go as int16."""
    rows = {name: value.cpu() for name, value in row.items()}
    return {
        name: (value.view(torch.int16) if value.dtype == torch.bfloat16 else value).numpy()
        for name, value in rows.items()
    }
