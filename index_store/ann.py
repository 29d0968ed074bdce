"""Approximate indexes: the one place that imports faiss.

Today one type, "pq4fs": flat 4-bit product quantisation with fast scan (Quicker ADC,
arXiv:1812.09162), dim / 4 sub-quantisers; its candidates are re-scored from the stored
vectors. A text query on picture vectors needs many candidates, being far from all of them;
this type loses the least there (see docs/architecture.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_store.errors import StoreCorrupt
from index_store.segment import Halves
from index_store.types import Vectors

TYPE = "pq4fs"
THRESHOLD = 200_000  # rows; below, an exact scan of the file is fast enough
CANDIDATES = 1_024  # re-scored for one query, unless `effort` says otherwise
TRAIN_ROWS = 65_536
_CHUNK = 65_536


class AnnIndex:
    """A trained index over rows 0 .. n - 1."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Vectors, candidates: int) -> list[npt.NDArray[np.int64]]:
        """Return, for each query, the row numbers of its best candidates, in no order."""
        _, found = self._index.search(queries, min(candidates, len(self)))
        return [row[row >= 0] for row in found]

    def save(self, path: Path) -> tuple[int, str]:
        """Write to a new file; return its size and blake2b. The caller syncs and renames.

        Not `faiss.write_index`: when the disk is full it reports success and leaves a
        truncated file.
        """
        import faiss

        digest, size = hashlib.blake2b(digest_size=32), 0
        with path.open("xb") as file:

            def write(data: bytes) -> int:
                nonlocal size
                file.write(data)
                digest.update(data)
                size += len(data)
                return len(data)

            faiss.write_index(self._index, faiss.PyCallbackIOWriter(write))  # type: ignore[attr-defined]
        return size, digest.hexdigest()


def build(rows: Iterable[Halves], sample: Halves, dim: int) -> AnnIndex:
    """Train on `sample` and add `rows` (blocks of any length) in order."""
    import faiss

    index = faiss.IndexPQFastScan(dim, _sub_quantizers(dim), 4, faiss.METRIC_INNER_PRODUCT)
    index.train(sample.astype(np.float32))
    for block in rows:
        for start in range(0, len(block), _CHUNK):
            index.add(block[start : start + _CHUNK].astype(np.float32))
    return AnnIndex(index)


def load(path: Path, size: int, blake2b: str) -> AnnIndex:
    """Read a published index.

    faiss loads 14 % of damaged files without complaint, so the hash is compared first.

    Raises:
        FileNotFoundError: it was retired meanwhile.
        StoreCorrupt: the bytes are not those that were published.
    """
    import faiss

    data = path.read_bytes()
    if len(data) != size or hashlib.blake2b(data, digest_size=32).hexdigest() != blake2b:
        raise StoreCorrupt(path, "the index file has changed since it was published")
    return AnnIndex(faiss.deserialize_index(np.frombuffer(data, np.uint8)))


def _sub_quantizers(dim: int) -> int:
    """Return the largest divisor of dim that leaves at least 4 dimensions to each."""
    return max(m for m in range(1, max(dim // 4, 1) + 1) if dim % m == 0)
