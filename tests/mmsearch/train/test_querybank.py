"""Hubs, pictures that are found for everything, and what becomes of them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402, N812  (only where torch is)

from mmsearch.train.querybank import Given, debias  # noqa: E402

N = 300


def test_a_picture_like_everything_comes_up_less():
    torch.manual_seed(0)
    seen, hubs = torch.randn(N, 32), torch.rand(N, 1)
    told = seen + 1.5 * torch.randn(N, 32)
    rows = F.normalize(seen + hubs, dim=1), F.normalize(told + 1, dim=1)
    heads = debias((Given(32), Given(32)), *rows, sharpness=25, weight=0.75)
    before = rows[1] @ rows[0].T
    after = heads[1](rows[1]) @ heads[0](rows[0]).T

    def found(scores):
        return float((scores.argmax(1) == torch.arange(N)).float().mean())

    def most(scores):
        return int(torch.bincount(scores.topk(10, dim=1).indices.flatten()).max())

    assert found(after) > found(before) + 0.1
    assert most(after) < 0.8 * most(before)  # k-occurrence of the greatest hub
