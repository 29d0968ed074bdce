"""Batches of training pairs, made by threads ahead of the model. Nothing is random but by number.

Each picture of an epoch has its own random generator, from (seed, epoch, picture): which caption,
which crop. So the batches do not depend on the threads, on how often the run was interrupted, or
on how many processes share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mmsearch.encoders.torch_backend import DualModel
from mmsearch.errors import BadPicture, BadSource
from mmsearch.images import open_picture
from mmsearch.pipeline import map_ahead
from mmsearch.sources import source_at
from mmsearch.train.augment import Augment
from mmsearch.train.pairs import Ids, Pairs
from mmsearch.train.views import Views
from mmsearch.types import Array

TRIES = 20  # pictures that follow a broken one

_Loaded = tuple[Array, list[str], list[int], int]  # pixels, captions, their numbers, the group


@dataclass(frozen=True, slots=True)
class Batch:
    """n pictures, c captions of each.

    pixels: (n, 3, S, S), or what a cut tower takes. texts: n * c, picture by picture.
    caption_ids: (n, c) and groups: (n,), see `Pairs`.
    """

    pixels: Tensor
    texts: list[str]
    caption_ids: Tensor
    groups: Tensor

    def __len__(self) -> int:
        return len(self.groups)

    def cut(self, size: int) -> list[Batch]:
        """Return the batch in parts of `size` pairs; 0: whole."""
        size = size or len(self)
        c = self.caption_ids.shape[1]
        return [
            Batch(
                self.pixels[i : i + size],
                self.texts[i * c : (i + size) * c],
                self.caption_ids[i : i + size],
                self.groups[i : i + size],
            )
            for i in range(0, len(self), size)
        ]


@dataclass(frozen=True, slots=True)
class Loader:
    """Makes batches of `pairs`. augment None: the model's own preprocessing alone.

    captions: of each picture. views: the maps that take the place of pixels, if any. broken: the
    pictures that would not open, as this process met them, and why.
    """

    pairs: Pairs
    dual: DualModel
    augment: Augment | None
    seed: int
    workers: int
    captions: int = 1
    views: Views | None = None
    broken: dict[str, str] = field(default_factory=dict)

    def batches(self, epoch: int, rows: Sequence[Ids]) -> Iterator[Batch]:
        """Yield a batch for each array of picture numbers, in order.

        Raises:
            BadSource: so many pictures in a row cannot be opened that something else is wrong.
        """
        items = [(epoch, int(i)) for part in rows for i in part]
        sizes = [len(part) for part in rows]
        ahead = 3 * max(sizes, default=1)
        loaded = map_ahead(lambda item: self._load(*item), items, threads=self.workers, ahead=ahead)
        for size in sizes:
            yield self._stack([next(loaded) for _ in range(size)])
        loaded.close()

    def _load(self, epoch: int, number: int) -> _Loaded:
        rng = np.random.default_rng([self.seed, epoch, number])
        for i in range(TRIES):
            at = (number + i) % len(self.pairs)
            row = self.pairs.rows[at]
            picks = self._picks(len(row.captions), rng)
            try:
                pixels = self._pixels(at, rng)
            except BadPicture as error:
                self.broken[row.path] = str(error)
                continue  # a file that cannot be read gives its place to the next one
            ids = self.pairs.caption_ids[at][picks].tolist()
            texts = [row.captions[pick] for pick in picks]
            return pixels, texts, ids, int(self.pairs.groups[at])
        first = self.pairs.rows[number].path
        raise BadSource(f"{TRIES} pictures in a row cannot be opened, the first is {first}")

    def _picks(self, n: int, rng: np.random.Generator) -> list[int]:
        """Return which captions; none twice before all were taken."""
        if self.captions == 1:
            return [int(rng.integers(n))]
        order = rng.permutation(n).tolist()
        return [order[i % n] for i in range(self.captions)]

    def _pixels(self, at: int, rng: np.random.Generator) -> Array:
        if self.views is not None:
            return self.views.draw(at, rng)
        row = self.pairs.rows[at]
        image = open_picture(source_at(row.path), target=self.dual.image_size).image
        if self.augment is not None:
            image = self.augment(image, self.dual.image_size, row.captions, rng)
        return self.dual.preprocess(image)

    def _stack(self, loaded: list[_Loaded]) -> Batch:
        pixels, texts, captions, groups = zip(*loaded, strict=True)
        return Batch(
            torch.from_numpy(np.stack(pixels)),
            [text for own in texts for text in own],
            torch.tensor(captions),
            torch.tensor(groups),
        )


def pictures(
    pairs: Pairs, dual: DualModel, *, size: int, workers: int, broken: dict[str, str] | None = None
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield (rows, pixels) of all pictures that open, in order, unchanged but for preprocessing.

    The others, and why they do not open, are put into `broken`.
    """

    def load(row: int) -> tuple[int, Array | None]:
        try:
            picture = open_picture(source_at(pairs.rows[row].path), target=dual.image_size)
        except BadPicture as error:
            if broken is not None:
                broken[pairs.rows[row].path] = str(error)
            return row, None
        return row, dual.preprocess(picture.image)

    loaded = map_ahead(load, range(len(pairs)), threads=workers, ahead=2 * size)
    part: list[tuple[int, Array]] = []
    for row, pixels in loaded:
        if pixels is not None:
            part.append((row, pixels))
        if len(part) == size:
            yield _apart(part)
            part = []
    if part:
        yield _apart(part)


def _apart(part: list[tuple[int, Array]]) -> tuple[list[int], Tensor]:
    return [row for row, _ in part], torch.from_numpy(np.stack([pixels for _, pixels in part]))


def epoch_order(n: int, *, seed: int, epoch: int) -> Ids:
    """Return the pictures of an epoch in random order."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def cut_epoch(order: Ids, size: int, sources: Ids | None = None) -> list[Ids]:
    """Return the batches of an epoch; what does not fill the last one waits for another epoch.

    Args:
        order: the pictures.
        size: of a batch.
        sources: (n,) by picture; batches then are of one source each, but for what is left of
            all of them. They stand as their first pictures do, and are as many as without.
    """
    if sources is None:
        whole = len(order) // size * size
        return [order[i : i + size] for i in range(0, whole, size)]
    parts = [order[sources[order] == number] for number in np.unique(sources)]
    place = np.argsort(order)
    rest = np.concatenate([part[len(part) // size * size :] for part in parts])
    rest = rest[np.argsort(place[rest])]
    cut = [batch for part in [*parts, rest] for batch in cut_epoch(part, size)]
    return sorted(cut, key=lambda batch: int(place[batch[0]]))
