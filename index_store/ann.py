"""Approximate indexes: the one place that imports faiss.

Every kind only names candidates, which are scored again from the stored vectors. What they are:
"pq4fs" 4-bit product quantisation with fast scan (Quicker ADC, arXiv:1812.09162), "rabitq"
one bit a dimension (arXiv:2405.12497), "ivf-*" inverted files over these or over 8-bit, float16
or 8-bit PQ codes, "hnsw-*" graphs (arXiv:1603.09320) over 8-bit or float16 codes. "flat" is
float16, which is what is stored, so nothing is lost by it. "hnsw-cagra" is a graph over float32
that a GPU has built (`gpu`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_store import gpu
from index_store.errors import NoGpu, StoreCorrupt
from index_store.recipe import NEIGHBOURS, Recipe
from index_store.scan import Mask, decode
from index_store.segment import Halves
from index_store.types import Vectors

_CHUNK = 65_536
_KEPT = 64


class AnnIndex:
    """A trained index over rows 0 .. n - 1. What the effort is comes with every call."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._refined: _Refined | None = None
        self._params: dict[tuple[int, int, int], Any] = {}  # they cost more than a small search

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: Vectors, candidates: int, probes: int = 0, allowed: Mask | None = None
    ) -> list[npt.NDArray[np.int64]]:
        """Return, for each query, the row numbers of its candidates, the best first by the
        index's own rough scores.

        Args:
            probes: lists to visit, or the breadth in a graph; see `Recipe`.
            allowed: (n,); only where `Recipe.selects`.
        """
        params = self._parameters(probes, allowed)
        _, found = self._index.search(queries, min(candidates, len(self)), params=params)
        return [row[row >= 0] for row in found]

    def scored(
        self, rows: Halves, queries: Vectors, k: int, candidates: int, probes: int = 0,
        allowed: Mask | None = None,
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] | None:  # fmt: skip
        """Return the k best of the same candidates, or more, with their exact scores, from
        `rows`, the indexed vectors; of equal scores either none is left out or all that are no
        better than the k-th.

        None where this faiss cannot read vectors that are not its own.
        """
        if self._refined is None or not self._refined.reads(rows):
            self._refined = _Refined(self._index, rows)
        refined = self._refined.index
        if refined is None:
            return None
        candidates = min(candidates, len(self))
        some = min(k + 1, candidates)
        while True:
            params = self._refining(some, candidates, probes, allowed)
            scores, found = refined.search(queries, some, params=params)
            # Where the last ones are equal, chance chose among them.
            if some == candidates or (scores[:, -2] > scores[:, -1]).all():
                break
            some = candidates
        return [(f, s) if f[-1] >= 0 else (f[f >= 0], s[f >= 0])
                for f, s in zip(found, scores, strict=True)]  # fmt: skip

    def save(self, path: Path) -> tuple[int, str]:
        """Write to a new file; return its size and blake2b. The caller syncs and renames.

        Not `faiss.write_index`: when the disk is full it reports success and leaves a
        truncated file.
        """
        faiss = _faiss()
        digest, size = hashlib.blake2b(digest_size=32), 0
        with path.open("xb") as file:

            def write(data: bytes) -> int:
                nonlocal size
                file.write(data)
                digest.update(data)
                size += len(data)
                return len(data)

            faiss.write_index(self._index, faiss.PyCallbackIOWriter(write))
        return size, digest.hexdigest()

    def _refining(self, some: int, candidates: int, probes: int, allowed: Mask | None) -> Any:
        """Return how to score so many candidates and give some of them."""
        if allowed is None and (known := self._params.get((some, candidates, probes))):
            return known
        own = self._parameters(probes, allowed)
        # faiss cuts their product, a float32, down to a whole number.
        params = _faiss().IndexRefineSearchParameters(
            k_factor=(candidates + 0.5) / some, base_index_params=own
        )
        params.kept = own  # faiss does not keep it alive
        if allowed is None and len(self._params) < _KEPT:
            self._params[some, candidates, probes] = params
        return params

    def _parameters(self, probes: int, allowed: Mask | None) -> Any:
        faiss = _faiss()
        selector = None
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        if isinstance(self._index, faiss.IndexIVF):
            return faiss.SearchParametersIVF(nprobe=max(probes, 1), sel=selector)
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(probes, 1), sel=selector)
        return None


class _Refined:
    """An index whose candidates faiss itself scores again: half the time that numpy takes."""

    def __init__(self, base: Any, rows: Halves) -> None:
        # faiss keeps none of these alive.
        self._base, self._rows, self._flat = base, rows, _view(rows)
        self.index = self._flat and _faiss().IndexRefine(base, self._flat)

    def reads(self, rows: Halves) -> bool:
        if rows is self._rows:
            return True
        return len(rows) == len(self._rows) and rows.ctypes.data == self._rows.ctypes.data


def _view(rows: Halves) -> Any:
    """Return a flat index over float16 rows that stay where they are, or None.

    faiss makes such views of files that it maps itself and has no call for other memory, so the
    view's fields are set one by one. A faiss that has not these fields leaves it empty.
    """
    faiss = _faiss()
    fp16 = faiss.ScalarQuantizer.QT_fp16
    flat = faiss.IndexScalarQuantizer(rows.shape[1], fp16, faiss.METRIC_INNER_PRODUCT)
    data = rows.reshape(-1).view(np.uint8)
    pointer = faiss.swig_ptr(data)
    fields = {"view_data": pointer, "view_size": len(data), "c_ptr": pointer, "c_size": len(data),
              "is_owned": False}  # fmt: skip
    if not all(hasattr(flat.codes, name) for name in fields):
        return None
    for name, value in fields.items():
        setattr(flat.codes, name, value)
    if flat.codes.size() != len(data) or int(flat.codes.data()) != int(pointer):
        return None
    flat.ntotal = len(rows)
    return flat


def build(recipe: Recipe, rows: Iterable[Halves], sample: Halves, dim: int) -> AnnIndex:
    """Train on `sample` and add `rows` (blocks of any length) in order; on a GPU if faiss has
    one for this kind and its memory suffices.

    Raises:
        NoGpu: only a GPU can build this kind.
        FaissTwice: there is a GPU, and faiss is of two distributions.
    """
    only_gpu = recipe.kind == "hnsw-cagra"
    # Pictures lie in a narrow cone. Lists hold what is left without its axis: with it, all rows
    # that no centre is near go to the few centres nearest to the axis. It takes the same from
    # every score of a query, so their order stays.
    axis = decode(sample).mean(axis=0) if recipe.lists else np.zeros(dim, np.float32)
    if recipe.kind in gpu.KINDS and _faiss().get_num_gpus() > 0:
        rows = list(rows)
        empty = None if only_gpu else _empty(recipe, dim)
        try:
            return AnnIndex(gpu.build(_faiss(), recipe.kind, empty, rows, sample, axis))
        except RuntimeError:
            if only_gpu:
                raise
    if only_gpu:
        raise NoGpu(recipe.kind)
    index = _empty(recipe, dim)
    for clustered in (index, getattr(index, "pq", None)):
        if clustering := getattr(clustered, "cp", None):
            clustering.min_points_per_centroid = 1  # else faiss warns on stderr
    index.train(decode(sample) - axis)
    for block in rows:
        for start in range(0, len(block), _CHUNK):
            index.add(decode(block[start : start + _CHUNK]) - axis)
    return AnnIndex(index)


def kmeans(rows: Vectors, count: int, *, rounds: int = 20, seed: int = 0) -> Vectors:
    """Return the unit centres, (count, dim), of a spherical k-means over unit rows."""
    faiss = _faiss()
    clustering = faiss.Kmeans(
        rows.shape[1], count, niter=rounds, seed=seed, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=1 << 20,
    )  # fmt: skip
    clustering.train(np.ascontiguousarray(rows, np.float32))
    centres: Vectors = clustering.centroids
    return centres


def load(path: Path, size: int, blake2b: str) -> AnnIndex:
    """Open a published index by memory map.

    faiss loads 14 % of damaged files without complaint and then loses hits in silence, so the
    whole file is hashed first, once a process. That reads it into the page cache, where the map
    finds it.

    Raises:
        FileNotFoundError: it was retired meanwhile.
        StoreCorrupt: the bytes are not those that were published, or faiss cannot read them.
    """
    with path.open("rb") as file:
        whole = os.fstat(file.fileno()).st_size == size
        found = whole and hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    if not found or found.hexdigest() != blake2b:
        raise StoreCorrupt(path, "the index file has changed since it was published")
    try:
        return AnnIndex(_open(path))
    except RuntimeError as error:
        raise StoreCorrupt(path, "this version of faiss cannot read the index file") from error


def _open(path: Path) -> Any:
    faiss = _faiss()
    # faiss takes the name as UTF-8, and on Windows in the system's code page.
    if os.name != "nt" and os.fsencode(path).isascii():
        return faiss.read_index(os.fspath(path), faiss.IO_FLAG_MMAP_IFC)
    return faiss.deserialize_index(np.frombuffer(path.read_bytes(), np.uint8))


def _empty(recipe: Recipe, dim: int) -> Any:
    """Return the index of this recipe, not yet trained."""
    faiss = _faiss()
    product = faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.ScalarQuantizer
    if recipe.kind == "pq4fs":
        return faiss.IndexPQFastScan(dim, recipe.subs, 4, product)
    if recipe.kind == "rabitq":
        return faiss.IndexRaBitQFastScan(dim, product)
    if recipe.kind.startswith("hnsw"):
        code = quantizer.QT_8bit if recipe.kind == "hnsw-sq8" else quantizer.QT_fp16
        return faiss.IndexHNSWSQ(dim, code, NEIGHBOURS, product)
    code = {
        "ivf-pq4fs": f"PQ{recipe.subs}x4fs", "ivf-rabitq": "RaBitQfs",
        "ivf-pq8": f"PQ{recipe.subs}", "ivf-sq8": "SQ8", "ivf-flat": "SQfp16",
    }[recipe.kind]  # fmt: skip
    return faiss.index_factory(dim, f"IVF{recipe.lists},{code}", product)


def _faiss() -> Any:
    """Return the module: imported when it is used, and without its half-written types."""
    import faiss

    return faiss
