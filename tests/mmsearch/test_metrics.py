"""Figures worked out by hand, and the bootstrap against the obvious loop."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.metrics import (
    Ranking,
    average_precision,
    figures,
    hits,
    intervals,
    ndcg,
    paired_differences,
    per_query,
    r_precision,
    recall,
    reciprocal_ranks,
    replicates,
    straddling,
)


def ranking(*queries: dict[int, float], luckiest: list[int] | None = None) -> Ranking:
    """Return a ranking of 10 candidates from {rank: grade} for each query."""
    ranks = [r for q in queries for r in sorted(q)]
    grades = [q[r] for q in queries for r in sorted(q)]
    starts = np.cumsum([0, *(len(q) for q in queries)])
    first = [min(q) for q in queries]
    return Ranking(
        starts, np.array(ranks), np.array(grades, np.float64), np.array(luckiest or first), 10
    )


# Two queries: relevant at ranks 2, 3 and 9; and at rank 1 alone.
TWO = ranking({2: 1.0, 3: 1.0, 9: 1.0}, {1: 1.0})


def test_one_relevant_candidate_in_reach_is_a_whole_hit() -> None:
    assert hits(TWO, 1).tolist() == [0, 1]
    assert hits(TWO, 2).tolist() == [1, 1]


def test_recall_counts_every_relevant_candidate() -> None:
    assert recall(TWO, 1).tolist() == [0, 1]
    assert recall(TWO, 3).tolist() == pytest.approx([2 / 3, 1])
    assert recall(TWO, 9).tolist() == [1, 1]


def test_reciprocal_rank_is_of_the_first_relevant_one() -> None:
    assert reciprocal_ranks(TWO).tolist() == [1 / 2, 1]


def test_average_precision_by_hand() -> None:
    assert average_precision(TWO).tolist() == pytest.approx([(1 / 2 + 2 / 3 + 3 / 9) / 3, 1])


def test_r_precision_looks_as_deep_as_there_are_relevant_ones() -> None:
    assert r_precision(TWO).tolist() == pytest.approx([2 / 3, 1])


def test_graded_ndcg_by_hand() -> None:
    # Found: grade 1 at rank 1, grade 3 at rank 3. Ideal: 3 at rank 1, 1 at rank 2.
    graded = ranking({1: 1.0, 3: 3.0})
    got, ideal = 1 / 1 + 3 / 2, 3 / 1 + 1 / np.log2(3)
    assert ndcg(graded, 10).tolist() == pytest.approx([got / ideal])
    assert ndcg(graded, 2).tolist() == pytest.approx([1 / ideal])
    assert ndcg(graded, 1).tolist() == pytest.approx([1 / 3])


def test_exponential_gains_are_two_to_the_grade_less_one() -> None:
    graded = ranking({1: 1.0, 3: 3.0})
    ideal = 7 / 1 + 1 / np.log2(3)
    assert ndcg(graded, 10, exponential=True).tolist() == pytest.approx([(1 + 7 / 2) / ideal])


def test_perfect_rankings_get_a_hundred_and_rank_one() -> None:
    found = figures(per_query(ranking({1: 3.0, 2: 1.0}, {1: 1.0})))
    ranks = {name: found.pop(name) for name in ("median_rank", "mean_rank")}
    assert ranks == {"median_rank": 1, "mean_rank": 1}
    assert set(found.values()) == {100}


def test_figures_are_per_cent_and_ranks() -> None:
    found = figures(per_query(ranking({1: 1.0}, {2: 1.0}, {7: 1.0}, {10: 1.0})))
    assert list(found) == [
        "R@1", "R@5", "R@10", "median_rank", "mean_rank", "MRR", "mAP", "nDCG@10", "R-precision",
        "recall@10",
    ]  # fmt: skip
    assert (found["R@1"], found["R@5"], found["R@10"]) == (25, 50, 100)
    assert (found["median_rank"], found["mean_rank"]) == (4.5, 5)
    assert found["MRR"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 7 + 1 / 10) / 4)


def test_ties_straddle_k_when_luck_would_make_a_hit() -> None:
    tied = ranking({3: 1.0}, {6: 1.0}, {5: 1.0}, luckiest=[1, 6, 4])
    assert [straddling(tied, k) for k in (1, 2, 3, 4, 5)] == [1, 1, 0, 1, 0]


@pytest.fixture
def uneven() -> tuple[dict[str, np.ndarray], list[str]]:
    """First ranks of 7 queries, in clusters of 1, 2 and 4."""
    first = [{1: 1.0}, {4: 1.0}, {9: 1.0}, {2: 1.0}, {6: 1.0}, {3: 1.0}, {8: 1.0}]
    return per_query(ranking(*first)), ["a", "b", "b", "c", "c", "c", "c"]


def test_the_bootstrap_is_the_obvious_loop(uneven: tuple) -> None:
    values, clusters = uneven
    samples = replicates(values, clusters, resamples=60, seed=3)
    members = [[n for n, c in enumerate(clusters) if c == name] for name in "abc"]
    for n, stream in enumerate(np.random.SeedSequence(3).spawn(60)):
        drawn = np.random.default_rng(stream).integers(0, 3, 3)
        chosen = [q for cluster in drawn for q in members[cluster]]
        obvious = figures({name: v[chosen] for name, v in values.items()})
        assert {name: sample[n] for name, sample in samples.items()} == pytest.approx(obvious)


def test_the_size_of_the_blocks_does_not_change_the_samples(
    uneven: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replicates(*uneven, resamples=20)
    monkeypatch.setattr("mmsearch.metrics._CELLS", 1)
    for name, sample in replicates(*uneven, resamples=20).items():
        assert sample.tolist() == pytest.approx(whole[name].tolist())


def test_the_same_seed_gives_the_same_interval(uneven: tuple) -> None:
    one, two, other = (intervals(replicates(*uneven, resamples=50, seed=s)) for s in (1, 1, 2))
    assert one == two
    assert one != other


def test_captions_drawn_singly_would_make_the_interval_too_narrow() -> None:
    # 40 pictures, each found by all five of its captions or by none.
    first = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 5) * 9 + 1
    values = per_query(ranking(*({int(rank): 1.0} for rank in first)))
    by_picture = intervals(replicates(values, np.repeat(np.arange(40), 5)))["R@1"]
    singly = intervals(replicates(values, np.arange(200)))["R@1"]
    # Five equal captions tell as much as one: the interval is sqrt(5) times as wide.
    ratio = (by_picture[1] - by_picture[0]) / (singly[1] - singly[0])
    assert ratio == pytest.approx(np.sqrt(5), rel=0.2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for n in range(200):
        first = np.where(rng.random(150) < 0.4, 1, 7)
        values = per_query(ranking(*({int(rank): 1.0} for rank in first)))
        low, high = intervals(replicates(values, np.arange(150), resamples=300, seed=n))["R@1"]
        covered += low <= 40 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_paired_difference_is_surer_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    hard = rng.integers(1, 10, 400)
    better = np.maximum(hard - (rng.random(400) < 0.3), 1)
    a, b = (per_query(ranking(*({int(r): 1.0} for r in first))) for first in (hard, better))
    found = paired_differences(a, b, np.arange(400))
    assert found["mean_rank"].difference == pytest.approx(better.mean() - hard.mean())
    assert found["mean_rank"].clear
    assert found["mean_rank"].better == 1.0
    singly = (intervals(replicates(v, np.arange(400)))["mean_rank"] for v in (a, b))
    (low, _), (_, high) = singly
    assert low < high  # the two intervals overlap and would leave it open


def test_a_system_compared_with_itself_differs_in_nothing(uneven: tuple) -> None:
    values, clusters = uneven
    for found in paired_differences(values, values, clusters, resamples=30).values():
        assert (found.difference, found.low, found.high, found.better) == (0, 0, 0, 0.5)
        assert not found.clear


def test_systems_over_different_queries_are_not_compared(uneven: tuple) -> None:
    values, clusters = uneven
    fewer = {name: v[:-1] for name, v in values.items()}
    with pytest.raises(ValueError, match="same queries"):
        paired_differences(values, fewer, clusters)
