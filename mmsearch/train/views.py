"""The frozen part of a picture tower, worked out once: feature maps of a few views of a picture.

What lies below the first trained block gives the same map for the same pixels in every epoch. So
a few random views of each picture go through it once, and each epoch draws one of their maps:
on a CPU that is most of the work of training. What it costs: a picture is seen in `count` views,
not in a new one each epoch. The maps lie on disk, and may be larger than the memory.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmsearch.encoders.torch_backend import DualModel
from mmsearch.errors import BadPicture
from mmsearch.images import open_picture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.sources import source_at
from mmsearch.train.augment import Augment
from mmsearch.train.pairs import Pairs
from mmsearch.types import Array

SIZE = 32  # pictures through the tower at once
CLOSED = "it could not be opened when the views were made"


@dataclass(frozen=True, slots=True)
class Views:
    """maps: (views, n, ...) float16. opened: (n,), False where a picture does not open."""

    maps: npt.NDArray[np.float16]
    opened: npt.NDArray[np.bool_]

    def draw(self, row: int, rng: np.random.Generator) -> Array:
        """Return a random view's map of a picture.

        Raises:
            BadPicture: it does not open.
        """
        if not self.opened[row]:
            raise BadPicture(CLOSED)
        return np.array(self.maps[rng.integers(len(self.maps)), row])

    def closed(self, pairs: Pairs) -> dict[str, str]:
        """Return the pictures that do not open, and why."""
        return {pairs.rows[i].path: CLOSED for i in np.flatnonzero(~self.opened)}

    def parts(self, size: int) -> Iterator[tuple[list[int], Tensor]]:
        """Yield (rows, maps) of the first view of all pictures that open, in order."""
        for rows in batched(np.flatnonzero(self.opened).tolist(), size):
            yield rows, torch.from_numpy(self.maps[0, rows])


@dataclass(frozen=True, slots=True)
class Lower:
    """The frozen part of a picture tower, and what its maps depend on beside the picture.

    key: of the weights. dtype: what it computes in; the maps are stored in float16.
    """

    module: nn.Module
    dual: DualModel
    key: str
    dtype: torch.dtype

    def views(
        self,
        pairs: Pairs,
        folder: Path,
        *,
        augment: Augment | None,
        count: int,
        seed: int,
        workers: int,
        say: Callable[[str], None],
    ) -> Views:
        """Return the maps of `count` views of each picture; from the folder, if they are there.

        Args:
            pairs: n pictures.
            folder: for the files; those of a run that was cut off are written anew.
            augment: how a view is made; None: the picture as it is when it is searched.
            count: views a picture.
            seed: a view depends on the seed, its number and the picture's, on nothing else.
            workers: threads that decode.
            say: gets a line a view.

        Raises:
            OSError: the folder cannot be written.
        """
        what = [self.key, str(self.dtype), pairs.fingerprint(), augment, count, seed]
        name = hashlib.blake2b(repr(what).encode(), digest_size=8).hexdigest()
        path, opened = folder / f"{name}.npy", folder / f"{name}-opened.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{name}.part"
            made = self._make(pairs, part, augment, count, seed, workers, say)
            np.save(opened, made)
            part.replace(path)
        return Views(np.load(path, mmap_mode="r"), np.load(opened))

    def _make(
        self,
        pairs: Pairs,
        part: Path,
        augment: Augment | None,
        count: int,
        seed: int,
        workers: int,
        say: Callable[[str], None],
    ) -> npt.NDArray[np.bool_]:
        """Write the maps of all views; return which pictures opened."""
        lower = copy.deepcopy(self.module).eval().to(self.dtype)
        lower.to(memory_format=torch.channels_last)
        device = next(lower.parameters()).device

        def load(view: int, row: int) -> Array | None:
            pair = pairs.rows[row]
            try:
                image = open_picture(source_at(pair.path), target=self.dual.image_size).image
            except BadPicture:
                return None
            if augment is not None:
                rng = np.random.default_rng([seed, view, row])
                image = augment(image, self.dual.image_size, pair.captions, rng)
            return self.dual.preprocess(image)

        maps, opened = None, np.zeros(len(pairs), bool)
        for view in range(count):
            loaded = map_ahead(
                partial(load, view), range(len(pairs)), threads=workers, ahead=3 * SIZE
            )
            for some in batched(enumerate(loaded), SIZE):
                rows = [row for row, pixels in some if pixels is not None]
                if not rows:
                    continue
                stacked = np.stack([pixels for _, pixels in some if pixels is not None])
                given = torch.from_numpy(stacked).to(device, self.dtype)
                with torch.inference_mode():
                    out = lower(given.contiguous(memory_format=torch.channels_last))
                if maps is None:
                    shape = (count, len(pairs), *out.shape[1:])
                    maps = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
                maps[view, rows] = out.half().cpu().numpy()
                opened[rows] = True
            say(f"view {view + 1} of {count} of {len(pairs)} pictures, as far as it is frozen")
        if maps is None:  # none opens; measuring will say so
            with part.open("wb") as file:
                np.save(file, np.zeros((count, len(pairs), 1), np.float16))
        else:
            maps.flush()
        return opened
