"""Indexes built by faiss on a GPU and searched on the CPU. `ann` calls it where there is one.

Several distributions bring the module `faiss`, of which `faiss-gpu-cuvs` knows CAGRA
(arXiv:2308.15136); two at once overwrite one another's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from index_store.errors import FaissTwice
from index_store.recipe import NEIGHBOURS, IndexKind
from index_store.scan import decode
from index_store.segment import Halves
from index_store.types import Vectors

DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss-gpu-cu11", "faiss-gpu-cu12")
# faiss has no counterpart on a GPU for the other kinds.
KINDS: frozenset[IndexKind] = frozenset({"ivf-pq8", "ivf-sq8", "ivf-flat", "hnsw-cagra"})
_CHUNK = 65_536


def installed() -> list[str]:
    """Return the distributions that are installed and bring a module `faiss`."""
    from importlib import metadata

    names = {
        d.metadata["Name"] for name in DISTRIBUTIONS for d in metadata.distributions(name=name)
    }
    return sorted(names)


def repair(names: list[str]) -> str:
    """Return the command that leaves the one for a GPU, if there is one, whole."""
    keep = next((n for n in names if "cuvs" in n), names[-1])
    return f"pip uninstall -y {' '.join(names)}; pip install {keep}"


def check() -> None:
    """Raise FaissTwice if the module `faiss` is of two distributions."""
    names = installed()
    if len(names) > 1:
        raise FaissTwice(names, repair(names))


def build(
    faiss: Any, kind: IndexKind, index: Any, rows: Iterable[Halves], sample: Halves, axis: Vectors
) -> Any:
    """Return the index trained and filled on the first GPU, as one for the CPU.

    Args:
        faiss: the module, with a GPU.
        index: of this kind, empty; None for hnsw-cagra, whose graph is made of all rows at once.
        axis: (dim,), taken from rows and sample (see `ann.build`); not for hnsw-cagra.

    Raises:
        FaissTwice: the module is of two distributions.
        RuntimeError: the GPU's memory does not suffice, or this faiss cannot do it.
    """
    check()
    resources = faiss.StandardGpuResources()
    if kind == "hnsw-cagra":
        config = faiss.GpuIndexCagraConfig()
        config.graph_degree, config.intermediate_graph_degree = NEIGHBOURS, 2 * NEIGHBOURS
        product = faiss.METRIC_INNER_PRODUCT
        on_gpu = faiss.GpuIndexCagra(resources, sample.shape[1], product, config)
        on_gpu.train(np.concatenate([decode(block) for block in rows]), numeric_type=faiss.Float32)
        return faiss.index_gpu_to_cpu(on_gpu)  # an IndexHNSWCagra
    options = faiss.GpuClonerOptions()
    options.useFloat16 = kind == "ivf-pq8"  # its tables of so many sub-quantisers need it
    on_gpu = faiss.index_cpu_to_gpu(resources, 0, index, options)
    on_gpu.train(decode(sample) - axis)
    for block in rows:
        for start in range(0, len(block), _CHUNK):
            on_gpu.add(decode(block[start : start + _CHUNK]) - axis)
    return faiss.index_gpu_to_cpu(on_gpu)
