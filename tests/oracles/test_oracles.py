"""Our figures against five other implementations, to 4 decimals, on scores without ties.

    pip install 'mmsearch[oracles]' && pytest tests/oracles

Each test skips where its oracle is not installed.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import pytest

from index_store.types import Vectors
from mmsearch.evaluation import relevance
from mmsearch.metrics import (
    HIT_RANKS,
    average_precision,
    figures,
    hits,
    ndcg,
    per_query,
    r_precision,
    recall,
    reciprocal_ranks,
)
from tests.oracles.conftest import CAPTIONS, Case

FOUR_DECIMALS = 0.5e-4


def oracle(name: str) -> ModuleType:
    """Return the module; skip without it. Its own warnings at import are none of our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def close(value: float) -> object:
    return pytest.approx(value, abs=FOUR_DECIMALS)


@pytest.mark.parametrize("k", HIT_RANKS)
def test_clip_benchmark_recall_at_k(case: Case, k: int) -> None:
    torch = oracle("torch")
    theirs = oracle("clip_benchmark.metrics.zeroshot_retrieval")
    scores, positive = torch.from_numpy(case.scores), torch.from_numpy(case.positive)
    parts = theirs.recall_at_k(scores, positive, k)
    assert recall(case.ranking, k).mean() == close(parts.mean().item())
    # CLIP_benchmark reports this, under the name of retrieval_recall@k.
    assert hits(case.ranking, k).mean() == close((parts > 0).float().mean().item())


def test_open_clip_ranks_one_to_one(vectors: tuple[Vectors, Vectors]) -> None:
    torch = oracle("torch")
    theirs = oracle("open_clip_train.train")
    images, texts = vectors[0], vectors[1][::CAPTIONS]
    pair = torch.from_numpy(images), torch.from_numpy(texts)
    found = theirs.get_clip_metrics(*pair, torch.tensor(1.0))
    one_to_one = relevance([[n] for n in range(len(images))])
    for way, case in (
        ("text_to_image", Case(texts, images, one_to_one)),
        ("image_to_text", Case(images, texts, one_to_one)),
    ):
        ours = figures(per_query(case.ranking))
        # Theirs is the floor of the median, where an even number of queries may give a half.
        assert np.floor(ours["median_rank"]) == found[f"{way}_median_rank"]
        assert ours["mean_rank"] == close(found[f"{way}_mean_rank"])
        for k in HIT_RANKS:
            assert ours[f"R@{k}"] / 100 == close(found[f"{way}_R@{k}"])


def test_ranx(case: Case) -> None:
    ranx = oracle("ranx")
    names = [f"{m}@{k}" for m in ("hit_rate", "recall") for k in HIT_RANKS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's
        found = ranx.evaluate(
            ranx.Qrels(case.qrels()), ranx.Run(case.run()), [*names, "mrr", "map", "r-precision"]
        )
    for k in HIT_RANKS:
        assert hits(case.ranking, k).mean() == close(found[f"hit_rate@{k}"])
        assert recall(case.ranking, k).mean() == close(found[f"recall@{k}"])
    assert reciprocal_ranks(case.ranking).mean() == close(found["mrr"])
    assert average_precision(case.ranking).mean() == close(found["map"])
    assert r_precision(case.ranking).mean() == close(found["r-precision"])


def test_ranx_graded_ndcg(graded: Case) -> None:
    ranx = oracle("ranx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ranx.evaluate(
            ranx.Qrels(graded.qrels()), ranx.Run(graded.run()), ["ndcg@10", "ndcg_burges@10"]
        )
    assert ndcg(graded.ranking, 10).mean() == close(found["ndcg@10"])
    assert ndcg(graded.ranking, 10, exponential=True).mean() == close(found["ndcg_burges@10"])


def test_ir_measures(case: Case) -> None:
    ir = oracle("ir_measures")
    measures = {k: (ir.Success @ k, ir.R @ k) for k in HIT_RANKS}
    asked = [ir.RR, ir.AP, ir.Rprec, *(m for pair in measures.values() for m in pair)]
    found = ir.calc_aggregate(asked, case.qrels(), case.run())
    for k, (success, part) in measures.items():
        assert hits(case.ranking, k).mean() == close(found[success])
        assert recall(case.ranking, k).mean() == close(found[part])
    assert reciprocal_ranks(case.ranking).mean() == close(found[ir.RR])
    assert average_precision(case.ranking).mean() == close(found[ir.AP])
    assert r_precision(case.ranking).mean() == close(found[ir.Rprec])


def test_ir_measures_graded_ndcg(graded: Case) -> None:
    ir = oracle("ir_measures")
    found = ir.calc_aggregate([ir.nDCG @ 10], graded.qrels(), graded.run())
    assert ndcg(graded.ranking, 10).mean() == close(found[ir.nDCG @ 10])


def test_sentence_transformers(case: Case) -> None:
    oracle("torch")
    theirs = oracle("sentence_transformers.evaluation")
    qrels, run = case.qrels(), case.run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = theirs.InformationRetrievalEvaluator(
            dict.fromkeys(qrels, ""),
            {f"c{n}": "" for n in range(len(case.candidates))},
            {query: set(wanted) for query, wanted in qrels.items()},
            accuracy_at_k=list(HIT_RANKS),
            precision_recall_at_k=list(HIT_RANKS),
            mrr_at_k=[len(case.candidates)],
        )
        listed = [
            [{"corpus_id": key, "score": score} for key, score in run[query].items()]
            for query in evaluator.queries_ids
        ]
        found = evaluator.compute_metrics(listed)
    for k in HIT_RANKS:
        assert hits(case.ranking, k).mean() == close(found["accuracy@k"][k])
        assert recall(case.ranking, k).mean() == close(found["recall@k"][k])
    assert reciprocal_ranks(case.ranking).mean() == close(found["mrr@k"][len(case.candidates)])
