"""Re-rankers by spec. Importing this package costs nothing: a back end is imported when asked for.

A spec is `name` or `name:argument`, as in `fusion` or `blip:/models/blip-itm`. See
docs/reranking.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmsearch.registry import Registry

if TYPE_CHECKING:
    from mmsearch.types import Reranker

# A factory is called as factory(argument, tokens=..., threads=..., device=..., regions=...,
# cache=...): `tokens` gives the inner tensors of the query's encoder, `regions` is where a
# detector's regions of the pictures are, or None, `cache` keeps pictures' tokens on the disk, or is
# None.
RERANKERS: Registry[Reranker] = Registry(
    "reranker",
    {
        "fusion": "mmsearch.rerankers.fusion:open_fusion",
        "blip": "mmsearch.rerankers.blip:open_blip",
        "blip2": "mmsearch.rerankers.blip2:open_blip2",
        "vilt": "mmsearch.rerankers.vilt:open_vilt",
        "bridgetower": "mmsearch.rerankers.bridgetower:open_bridgetower",
        "lxmert": "mmsearch.rerankers.lxmert:open_lxmert",
        "visualbert": "mmsearch.rerankers.visualbert:open_visualbert",
        "uniter": "mmsearch.rerankers.uniter:open_uniter",
        "vlm": "mmsearch.rerankers.vlm:open_vlm",
    },
    extras={"torch": "torch", "transformers": "torch", "torchvision": "torch"},
)
