from __future__ import annotations

import numpy as np
import pytest

from mmsearch.encoders.rows import unit_rows
from mmsearch.errors import ModelUnavailable


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_become_float32_of_unit_length(dtype):
    rows = unit_rows(np.array([[3, 4], [0, -2]], dtype), dim=2, model="m")
    np.testing.assert_allclose(rows, [(0.6, 0.8), (0, -1)], atol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0])
def test_a_row_without_a_direction_is_named(bad):
    with pytest.raises(ModelUnavailable, match="model m gave no usable vector for input 2 "):
        unit_rows(np.array([[1, 1], [2, 0], [bad, 0]]), dim=2, model="m")


@pytest.mark.parametrize("shape", [(2, 3), (2,), (1, 2, 2)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ModelUnavailable, match="its config says 2 dimensions"):
        unit_rows(np.ones(shape), dim=2, model="m")


def test_no_rows_stay_none():
    assert unit_rows(np.empty((0, 2)), dim=2, model="m").shape == (0, 2)
