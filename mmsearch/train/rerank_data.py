"""What a re-ranker is trained on, worked out once: words, maps, the base's vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from index_store.types import Vectors
from mmsearch.encoders.tapped import InnerEncoder
from mmsearch.errors import BadPicture, BadSource
from mmsearch.files import write_whole
from mmsearch.images import open_picture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.sources import source_at
from mmsearch.train.pairs import Ids, Pairs
from mmsearch.train.views import Views
from mmsearch.types import Array

AT_ONCE = 32
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Words:
    """The text tower's last states of m captions, one after the other.

    hidden: (all tokens, width) float16. ids: (all tokens,). starts: (m + 1,).
    """

    hidden: npt.NDArray[np.float16]
    ids: npt.NDArray[np.int32]
    starts: Ids

    def batch(self, rows: Sequence[int] | Ids) -> tuple[Tensor, Tensor]:
        """Return (n, longest, width) float32 and (n, longest), True on tokens."""
        lengths = [int(self.starts[r + 1] - self.starts[r]) for r in rows]
        hidden = np.zeros((len(lengths), max(lengths), self.hidden.shape[1]), np.float32)
        keep = np.zeros(hidden.shape[:2], bool)
        for at, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            start = self.starts[row]
            hidden[at, :n] = self.hidden[start : start + n]
            keep[at, :n] = True
        return torch.from_numpy(hidden), torch.from_numpy(keep)

    def tokens(self, rows: Sequence[int] | Ids) -> tuple[Ids, Ids]:
        """Return ids and mask, (n, longest), of some captions."""
        parts = [self.ids[self.starts[r] : self.starts[r + 1]] for r in rows]
        ids = np.zeros((len(parts), max(map(len, parts))), np.int64)
        mask = np.zeros_like(ids)
        for at, part in enumerate(parts):
            ids[at, : len(part)] = part
            mask[at, : len(part)] = 1
        return ids, mask


@dataclass(frozen=True, slots=True)
class RerankSet:
    """Pairs with all that is read of them. images: (n, dim), texts: (m, dim), the base's unit
    rows. maps: one view for pictures to measure on, several to train on, the plain one first."""

    pairs: Pairs
    words: Words
    maps: tuple[Views, ...]
    images: Vectors
    texts: Vectors

    def draw(self, rows: Ids, rng: np.random.Generator) -> Tensor:
        """Return a random view's maps of some pictures, (n, channels, side, side)."""
        flat = [(views, v) for views in self.maps for v in range(len(views.maps))]
        picks = rng.integers(len(flat), size=len(rows))
        made = [flat[p][0].maps[flat[p][1], r] for p, r in zip(picks, rows, strict=True)]
        return torch.from_numpy(np.stack(made).astype(np.float32))

    def plain(self, rows: slice | Ids) -> Tensor:
        """Return the maps of pictures as they are when they are searched."""
        return torch.from_numpy(self.maps[0].maps[0, rows].astype(np.float32))

    @property
    def opened(self) -> Ids:
        """The rows of the pictures that can be read."""
        return np.flatnonzero(self.maps[0].opened)


def word_states(inner: InnerEncoder, pairs: Pairs, folder: Path, *, key: str, say: Say) -> Words:
    """Return the states of all captions; from the folder, if they are there.

    Raises:
        ModelUnavailable: the text tower is broken.
        OSError: the folder cannot be written.
    """
    texts = pairs.texts
    path = folder / f"{_name('words', key, texts)}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        hidden: list[Array] = [np.empty(0)] * len(texts)
        ids: list[Array] = [np.empty(0)] * len(texts)
        # Of like length together: one long text would have all others padded to it.
        for part in batched(sorted(range(len(texts)), key=lambda i: len(texts[i])), AT_ONCE):
            states, tokens, mask = inner.words([texts[i] for i in part])
            for row, i in enumerate(part):
                n = int(mask[row].sum())
                hidden[i] = states[row, :n].astype(np.float16)
                ids[i] = tokens[row, :n].astype(np.int32)
        starts = np.cumsum([0, *(len(h) for h in hidden)])
        flat, tokens = np.concatenate(hidden), np.concatenate(ids)
        write_whole(path, lambda file: np.savez(file, hidden=flat, ids=tokens, starts=starts))
        say(f"words of {len(texts)} captions")
    with np.load(path) as found:
        return Words(found["hidden"], found["ids"], found["starts"])


def base_vectors(
    encoder: InnerEncoder, pairs: Pairs, folder: Path, *, key: str, workers: int, say: Say
) -> tuple[Vectors, Vectors]:
    """Return (n, dim) and (m, dim), the base's vectors; from the folder, if they are there.

    A picture that does not open has a row of zeros.

    Raises:
        BadSource: none opens.
        ModelUnavailable: a tower is broken.
        OSError: the folder cannot be written.
    """
    dual = encoder.encoder
    path = folder / f"{_name('vectors', key, [pairs.fingerprint()])}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        images = np.zeros((len(pairs), dual.space.dim), np.float32)

        def load(row: int) -> Array | None:
            try:
                place = source_at(pairs.rows[row].path)
                return dual.prepare(open_picture(place, target=dual.image_size).image)
            except BadPicture:
                return None

        loaded = map_ahead(load, range(len(pairs)), threads=workers, ahead=3 * AT_ONCE)
        for part in batched(enumerate(loaded), AT_ONCE // 2):
            rows = [row for row, pixels in part if pixels is not None]
            if rows:
                pixels = np.stack([pixels for _, pixels in part if pixels is not None])
                images[rows] = dual.encode_images(pixels)
        if not images.any():
            raise BadSource(f"no picture opens, the first is {pairs.rows[0].path}")
        texts = dual.encode_texts(pairs.texts)
        write_whole(path, lambda file: np.savez(file, images=images, texts=texts))
        say(f"the base's vectors of {len(pairs)} pictures and their captions")
    with np.load(path) as found:
        return found["images"], found["texts"]


def _name(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
