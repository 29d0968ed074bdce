"""The losses, by hand and against open_clip's."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from mmsearch.train.losses import (  # noqa: E402  (only where torch is)
    PairLoss,
    clip_loss,
    cosine_loss,
    same_pairs,
    siglip_loss,
)


def unit(n: int, seed: int):
    rows = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def test_the_clip_loss_of_two_orthogonal_pairs_is_that_of_logits_one_and_zero():
    loss = clip_loss(torch.eye(2), torch.eye(2), scale=1.0)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)))


def test_label_smoothing_moves_its_share_of_the_target_to_all_candidates():
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    loss = clip_loss(torch.eye(2), torch.eye(2), scale=1.0, smoothing=0.2)
    assert float(loss) == pytest.approx(0.8 * right + 0.2 * (right + wrong) / 2)


def test_label_smoothing_is_finite_where_a_negative_is_left_out():
    same = torch.ones(2, 2, dtype=torch.bool)
    assert float(clip_loss(torch.eye(2), torch.eye(2), scale=9.0, same=same, smoothing=0.5)) == 0


def test_the_clip_loss_is_open_clips():
    loss = pytest.importorskip("open_clip.loss").ClipLoss()
    images, texts = unit(6, 0), unit(6, 1)
    expected = loss(images, texts, torch.tensor(14.0))
    assert float(clip_loss(images, texts, scale=14.0)) == pytest.approx(float(expected), rel=1e-6)


def test_the_siglip_loss_is_open_clips():
    loss = pytest.importorskip("open_clip.loss").SigLipLoss()
    images, texts = unit(6, 0), unit(6, 1)
    expected = loss(images, texts, torch.tensor(10.0), torch.tensor(-10.0))
    got = siglip_loss(images, texts, scale=10.0, bias=-10.0)
    assert float(got) == pytest.approx(float(expected), rel=1e-6)


def test_the_siglip_loss_of_one_pair_and_its_two_negatives_by_hand():
    # Two right pairs with logit 1 - 0.5, two wrong ones with logit 0 - 0.5; divided by n = 2.
    right, wrong = math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(-0.5))
    loss = siglip_loss(torch.eye(2), torch.eye(2), scale=1.0, bias=-0.5)
    assert float(loss) == pytest.approx((2 * right + 2 * wrong) / 2)


def test_the_cosine_loss_by_hand():
    texts = torch.tensor([[1.0, 0.0], [0.6, 0.8]])  # scores: own 1 and 0.8; others 0 and 0.6
    loss = cosine_loss(torch.eye(2), texts, margin=0.2)
    assert float(loss) == pytest.approx((0 + 0.2) / 2 + (0 + 0.4) / 2)


@pytest.mark.parametrize("name", ["clip", "siglip", "cosine"])
def test_a_repeated_caption_gives_its_pairs_no_gradient(name):
    images, texts = torch.eye(3).requires_grad_(), torch.eye(3)
    same = same_pairs(torch.tensor([7, 7, 8]), torch.arange(3))
    loss = PairLoss(name, margin=-1.0)
    loss(images, texts, same).backward()
    # The gradient of picture 0 along text 1 is that of their score alone.
    assert images.grad is not None
    assert float(images.grad[0, 1]) == 0
    assert float(images.grad[0, 2]) != 0


def test_pictures_of_one_group_are_no_negatives_of_each_other():
    same = same_pairs(torch.tensor([1, 2, 3]), torch.tensor([5, 6, 5]))
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_the_scale_is_learnt_and_stops_at_one_hundred():
    loss = PairLoss("clip", scale=99.0)
    with torch.no_grad():
        loss.log_scale += 1
    loss.clamp_()
    assert loss.scale().item() == pytest.approx(100.0)
    assert loss.log_scale.requires_grad


def test_only_the_sigmoid_loss_learns_a_bias_and_the_cosine_learns_nothing():
    learnt = {
        name: [n for n, p in PairLoss(name).named_parameters() if p.requires_grad]
        for name in ("clip", "siglip", "cosine")
    }
    assert learnt == {"clip": ["log_scale"], "siglip": ["log_scale", "bias"], "cosine": []}
