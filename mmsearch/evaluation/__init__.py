"""Evaluation that can be trusted: ranks, figures, intervals, and where hits are lost.

    from mmsearch.evaluation import evaluate_pairs, read_pairs

`pairs` (what is asked) -> `embedding` (vectors) -> `ranks` (in strips) -> `direction` (figures,
with `mmsearch.metrics`) -> `result`; beside them `losses` (index, filter, time), `stored`
(a collection with judged queries), `tables`, `page` and `examples` (what people read).
"""

from mmsearch.evaluation.datasets import compare_models, evaluate_pairs
from mmsearch.evaluation.direction import Direction, differences, measure
from mmsearch.evaluation.embedding import Embedded, embed
from mmsearch.evaluation.pairs import Pairs, read_pairs
from mmsearch.evaluation.ranks import Relevance, rank_relevant, relevance
from mmsearch.evaluation.result import Comparison, Evaluation
from mmsearch.evaluation.stored import evaluate_collection

__all__ = [
    "Comparison", "Direction", "Embedded", "Evaluation", "Pairs", "Relevance", "compare_models",
    "differences", "embed", "evaluate_collection", "evaluate_pairs", "measure", "rank_relevant",
    "read_pairs", "relevance",
]  # fmt: skip
