"""Exact search against the obvious way to do it."""

from __future__ import annotations

import numpy as np
import pytest

from index_store.scan import FEW, TILE, Part, decode, scan
from tests.index_store.conftest import unit_rows


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("asked", [3, FEW + 1])
def test_tiles_and_parts_give_what_one_product_gives(
    asked: int, decoded: bool, masked: bool
) -> None:
    rows = unit_rows(17 * TILE + 77).astype(np.float16)
    parts = [Part(0, rows[: TILE + 5]), Part(TILE + 5, rows[TILE + 5 :])]
    if decoded:
        parts = [p.decoded() for p in parts]
    allowed = np.arange(len(rows)) % 3 == 0 if masked else None
    queries = unit_rows(asked, seed=9)
    scores = queries @ rows.astype(np.float32).T
    if allowed is not None:
        scores[:, ~allowed] = -9
    for (positions, found), truth in zip(scan(parts, queries, 7, allowed), scores, strict=True):
        expected = np.argsort(-truth, kind="stable")[:7]
        assert positions.tolist() == expected.tolist()
        assert found == pytest.approx(truth[expected], abs=1e-6)


def test_equal_scores_stand_in_the_order_of_their_positions() -> None:
    rows = np.tile(unit_rows(1).astype(np.float16), (TILE + 50, 1))
    ((positions, _),) = scan([Part(100, rows)], unit_rows(1), 20)
    assert positions.tolist() == list(range(100, 120))


def test_the_rest_of_a_part_keeps_its_positions() -> None:
    rows = unit_rows(10).astype(np.float16)
    part = Part(5, rows).decoded().since(8)
    ((positions, _),) = scan([part], rows[4:5].astype(np.float32), 1)
    assert positions.tolist() == [9]
    assert len(Part(5, rows).since(99).rows) == 0


def test_float16_is_decoded_exactly() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    assert np.array_equal(decode(every).view(np.uint32), every.astype(np.float32).view(np.uint32))
