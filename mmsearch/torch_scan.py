"""Exact search on a GPU, or by torch on the CPU: float16 tiles, float32 arithmetic.

The same answers as `index_store.scan.scan`, whose place it takes: see `Collection.scan_with`.
Import it only where torch is meant to be loaded: that takes seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from index_store.scan import Mask, Part, Positions, Scores, merge, scan
from index_store.types import Vectors
from mmsearch.encoders.torch_backend import pick_device

TILE = 1 << 18  # rows: 512 MiB as float32 at 512-d
SMALLEST = 1 << 12  # below, memory is not what is missing
QUERIES = 256  # at once


class TorchScan:
    """Looks at every vector on a device, where those that fit stay for the next question.

    Where the device has no memory for them they are brought there tile by tile, then in smaller
    tiles, and at last the CPU does it without torch. Safe to use from threads, one at a time.

    Args:
        device: "cpu", "cuda", "cuda:N", "mps"; None: the best there is.
        warn: told, in a line, when the memory does not suffice. Default: the log.

    Raises:
        ModelUnavailable: no such device.
    """

    def __init__(
        self, device: str | None = None, *, warn: Callable[[str], object] | None = None
    ) -> None:
        self.device = pick_device(device)
        self._warn = warn or logging.getLogger("mmsearch").warning
        self._tile: int | None = TILE  # None: the CPU does it
        self._keep = True
        self._kept: dict[tuple[int, int], tuple[Part, torch.Tensor]] = {}
        self._lock = threading.Lock()

    def __call__(
        self, parts: Sequence[Part], queries: Vectors, k: int, allowed: Mask | None = None
    ) -> list[tuple[Positions, Scores]]:
        """Return what `scan` returns; scores differ by rounding alone."""
        with self._lock:
            while self._tile is not None:
                try:
                    with torch.inference_mode():
                        return self._scanned(parts, queries, k, allowed)
                except RuntimeError as error:
                    if "out of memory" not in str(error).lower():
                        raise
                    self._ask_for_less()
        return scan(parts, queries, k, allowed)

    def _ask_for_less(self) -> None:
        """Keep no vectors on the device; failing that use smaller tiles; failing that, the CPU."""
        assert self._tile is not None
        self._kept.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._keep:
            self._keep = False
            said = "the vectors are brought there for each question"
        elif self._tile > SMALLEST:
            self._tile //= 4
            said = f"searching in tiles of {self._tile:,} vectors"
        else:
            self._tile = None
            said = "searching on the CPU"
        self._warn(f"out of memory on {self.device}: {said}")

    def _scanned(
        self, parts: Sequence[Part], queries: Vectors, k: int, allowed: Mask | None
    ) -> list[tuple[Positions, Scores]]:
        best = [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        for start in range(0, len(queries), QUERIES):
            some = torch.from_numpy(np.ascontiguousarray(queries[start : start + QUERIES]))
            asked = some.to(self.device)
            for base, tile in self._tiles(parts):
                mask = None if allowed is None else allowed[base : base + len(tile)]
                if mask is not None and not mask.any():
                    continue
                for n, found in self._best_of(tile, asked, k, mask):
                    here = found[0] + base, found[1]
                    best[start + n] = merge(best[start + n], here, k)
        return best

    def _best_of(
        self, tile: torch.Tensor, queries: torch.Tensor, k: int, mask: Mask | None
    ) -> Iterator[tuple[int, tuple[Positions, Scores]]]:
        """Yield, for each query, the rows and scores of a tile's k best, ties at the end with
        them: topk would choose among those at will."""
        scores = queries @ tile.float().T
        if mask is not None:
            out = torch.from_numpy(~mask).to(self.device)
            scores.masked_fill_(out, -torch.inf)
        least = torch.topk(scores, min(k, scores.shape[1]), dim=1).values[:, -1:]
        keep = (scores >= least) & (scores > -torch.inf)
        numbers, rows = torch.nonzero(keep, as_tuple=True)
        kept = scores[numbers, rows].cpu().numpy()
        ends = np.cumsum(np.bincount(numbers.cpu().numpy(), minlength=len(queries)))[:-1]
        split = zip(np.split(rows.cpu().numpy(), ends), np.split(kept, ends), strict=True)
        yield from enumerate(split)

    def _tiles(self, parts: Sequence[Part]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the vectors on the device, with the position of the first."""
        assert self._tile is not None
        places = {(part.rows.ctypes.data, len(part.rows)): part for part in parts}
        for gone in self._kept.keys() - places.keys():
            del self._kept[gone]  # a newer commit has others
        for place, part in places.items():
            if self._keep and place not in self._kept:
                # The part too: where its memory is given back, another may come to its place.
                self._kept[place] = part, _tensor(part.rows).to(self.device)
            rows = self._kept[place][1] if self._keep else _tensor(part.rows)
            for start in range(0, len(rows), self._tile):
                tile = rows[start : start + self._tile].to(self.device)
                yield part.base + start, tile


def _tensor(rows: np.ndarray) -> torch.Tensor:
    """Return a view; that the memory is read-only is no matter, since nothing writes into it."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(rows)
