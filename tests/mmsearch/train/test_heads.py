"""The loss, the heads and the figures of the starter recipe, on numbers small enough to check."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmsearch.train.figures import both_ways, figures, first_ranks

torch = pytest.importorskip("torch")

from mmsearch.train.heads import (  # noqa: E402  (only where torch is)
    Average,
    Head,
    Temperature,
    info_nce,
    same_captions,
)


def head(dropout: float = 0.0) -> Head:
    torch.manual_seed(0)
    return Head(
        torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), hidden=4, dim=3, dropout=dropout
    )


def test_the_loss_of_two_orthogonal_pairs_is_that_of_logits_one_and_zero():
    rows = torch.eye(2)
    loss = info_nce(rows, rows, scale=1.0, same=torch.eye(2, dtype=torch.bool))
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)))


def test_the_loss_averages_both_directions():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # both texts sit on the first picture
    same = torch.eye(2, dtype=torch.bool)
    text_rows = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    image_rows = math.log(2)  # each picture sees two equal texts
    expected = (text_rows + image_rows) / 2
    assert float(info_nce(images, texts, scale=1.0, same=same)) == pytest.approx(expected)


def test_a_repeated_caption_is_no_negative_of_itself():
    rows = torch.eye(2)
    same = same_captions(torch.tensor([7, 7]))
    assert float(info_nce(rows, rows, scale=1.0, same=same)) == pytest.approx(0.0)


def test_same_captions_marks_equal_groups_only():
    expected = [[True, False, True], [False, True, False], [True, False, True]]
    assert same_captions(torch.tensor([3, 5, 3])).tolist() == expected


def test_a_head_gives_unit_rows_even_for_a_feature_that_never_varied():
    rows = head()(torch.tensor([[1.5, 2.0], [-4.0, 2.0]]))
    assert torch.linalg.norm(rows, dim=1).tolist() == pytest.approx([1.0, 1.0])


def test_a_head_standardises_its_features():
    one = head()
    shifted = head()
    shifted.mean += 10.0
    features = torch.tensor([[1.5, 2.0]])
    assert torch.allclose(one(features), shifted(features + 10.0), atol=1e-5)


def test_dropout_acts_in_training_only():
    one, features = head(dropout=0.5), torch.tensor([[3.0, 2.0]]).repeat(64, 1)
    assert torch.unique(one.eval()(features), dim=0).shape[0] == 1
    assert torch.unique(one.train()(features), dim=0).shape[0] > 1


def test_the_scale_starts_at_the_inverse_temperature_and_stops_at_one_hundred():
    assert Temperature(0.05)().item() == pytest.approx(20.0)
    assert Temperature(1e-4)().item() == pytest.approx(100.0)


def test_the_average_moves_by_its_decay_and_swaps_back():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    average = Average([layer], decay=0.75)
    layer.weight.data.fill_(4.0)
    average.update()  # 0.75 * 0 + 0.25 * 4
    average.swap()
    assert layer.weight.item() == pytest.approx(1.0)
    average.swap()
    assert layer.weight.item() == pytest.approx(4.0)


def test_ranks_count_from_one_and_take_the_best_placed_relevant_candidate():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]])
    relevant = np.array([[False, True, True], [True, False, False]])
    assert first_ranks(scores, relevant).tolist() == [2, 1]


def test_ties_count_against_the_query():
    assert first_ranks(np.zeros((1, 3)), np.array([[True, False, False]])).tolist() == [3]


@pytest.mark.parametrize(
    ("scores", "relevant", "message"),
    [
        (np.zeros((1, 2)), np.ones((2, 1), bool), "shape"),
        (np.zeros((1, 2)), np.zeros((1, 2), bool), "no relevant"),
        (np.array([[np.nan, 0.0]]), np.ones((1, 2), bool), "NaN"),
    ],
)
def test_ranks_refuse_what_has_no_answer(scores, relevant, message):
    with pytest.raises(ValueError, match=message):
        first_ranks(scores, relevant)


def test_figures_are_per_cent_of_queries_and_the_median_rank():
    shown = figures(np.array([1, 4, 6, 11]))
    assert shown == {"R@1": 25.0, "R@5": 50.0, "R@10": 75.0, "median_rank": 5.0}


def test_image_to_text_counts_a_hit_when_any_own_caption_is_in_the_top():
    images = np.eye(2)
    texts = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    shown = both_ways(images, texts, owner=np.array([0, 0, 1]))
    assert shown["text_to_image"]["R@1"] == pytest.approx(66.67)  # the second caption misses
    assert shown["image_to_text"]["R@1"] == 50.0  # picture 0 by its first; picture 1 misses
