"""Re-rankers by spec. Importing this package costs nothing: a back end is imported when asked for.

A spec is `name` or `name:argument`, as in `fusion` or `blip:/models/blip-itm`. See
docs/reranking.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmsearch.registry import Registry

if TYPE_CHECKING:
    from mmsearch.types import Reranker

# A factory is called as factory(argument, encoder=..., threads=..., device=...); `encoder` is the
# encoder of the query, whose tokens a re-ranker may read.
RERANKERS: Registry[Reranker] = Registry(
    "reranker",
    {
        "fusion": "mmsearch.rerankers.fusion:open_fusion",
    },
    extras={"torch": "torch", "transformers": "torch", "torchvision": "torch"},
)
