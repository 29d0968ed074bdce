"""The guard and the points between base and tuned: on ranks small enough to check by eye."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mmsearch.train.guard import Difference, difference, fits_k, judge  # noqa: E402
from mmsearch.train.measure import Ranks, ranks_of  # noqa: E402
from mmsearch.train.wiseft import Point, blend, choose, snapshot  # noqa: E402
from tests.mmsearch.train.toys import Toy, blob_pairs  # noqa: E402


def ranks(*text_to_image: int) -> Ranks:
    n = len(text_to_image)
    return Ranks(np.array(text_to_image), np.ones(n, np.int64), np.arange(n))


def test_the_change_is_in_points_and_certain_where_every_query_changes():
    assert difference(ranks(9, 9, 9), ranks(1, 1, 1), 1) == Difference(100.0, 100.0, 100.0)


def test_equal_models_differ_by_nothing():
    assert difference(ranks(1, 9, 1), ranks(1, 9, 1), 1) == Difference(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("heldout", "general", "promoted"),
    [
        (Difference(5, 1, 9), None, True),
        (Difference(5, -1, 9), None, False),
        (Difference(-5, -9, -1), None, False),
        (Difference(5, 1, 9), Difference(-1, -3, 1), True),
        (Difference(5, 1, 9), Difference(-1.5, -3, 1), False),
    ],
)
def test_only_a_gain_beyond_chance_that_keeps_the_general_set_is_promoted(
    heldout, general, promoted
):
    verdict = judge(heldout, general, k=10, tolerance=1.0)
    assert verdict.promoted is promoted
    assert bool(verdict.reasons) is not promoted


def test_the_chosen_point_is_the_best_that_keeps_the_general_set():
    points = [Point(0, 10, 80), Point(0.5, 40, 79.5), Point(1, 60, 70)]
    assert choose(points, tolerance=1).alpha == 0.5
    assert choose(points, tolerance=20).alpha == 1
    assert choose([Point(0, 10, None), Point(1, 10, None)], tolerance=1).alpha == 0


def test_the_ends_of_the_line_are_base_and_tuned_bit_for_bit():
    base, tuned, module = snapshot(Toy(seed=0)), snapshot(Toy(seed=1)), Toy(seed=2)
    for alpha, expected in ((0.0, base), (1.0, tuned)):
        blend(module, base, tuned, alpha)
        assert all(torch.equal(t, expected[n]) for n, t in module.state_dict().items())
    blend(module, base, tuned, 0.5)
    name = "text_projection.weight"
    assert torch.allclose(module.state_dict()[name], (base[name] + tuned[name]) / 2)


def test_a_small_set_is_judged_by_a_smaller_k():
    assert [fits_k(n, 10) for n in (8, 24, 40, 300)] == [1, 5, 10, 10]


def test_a_model_that_gives_no_numbers_ranks_last(tmp_path):
    pairs = blob_pairs(tmp_path)
    images = np.full((len(pairs), 4), np.nan, np.float32)
    texts = np.full((len(pairs.texts), 4), np.nan, np.float32)
    assert ranks_of(images, texts, pairs).text_to_image.min() == len(pairs)
