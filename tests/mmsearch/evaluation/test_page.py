"""The reports that people read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Encoder
from mmsearch.evaluation import (
    Embedded,
    evaluate_pairs,
    read_pairs,
)
from mmsearch.evaluation.page import histogram, html_report
from mmsearch.evaluation.tables import as_markdown, figure
from tests.mmsearch.evaluation.conftest import Backwards


@pytest.fixture
def evaluated(table: Path, encoder: Encoder) -> tuple:
    hostile = "<script>alert(1)</script> blue"
    table.write_text(table.read_text().replace("blue,cold", f"{hostile},cold"))
    return evaluate_pairs(read_pairs(str(table)), encoder, "color", resamples=20)


def test_the_page_is_whole_in_itself_and_safe(evaluated: tuple) -> None:
    page = html_report(*evaluated)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; blue" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:image/jpeg;base64,)""", page)
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 2
    assert page.count("<img") >= 4


def test_a_picture_that_is_gone_leaves_a_gap_in_the_page(evaluated: tuple, table: Path) -> None:
    (table.parent / "blue.png").unlink()
    assert "<div class=gone>" in html_report(*evaluated)


def test_misses_show_what_was_meant(encoder: Encoder, table: Path) -> None:
    pairs = read_pairs(str(table))
    result, embedded = evaluate_pairs(pairs, Backwards(encoder), "backwards", resamples=20)
    assert isinstance(embedded, Embedded)
    page = html_report(result, embedded)
    assert page.count("Worst misses") == 2


def test_the_bars_of_the_histogram_hold_every_query() -> None:
    first = np.array([1, 1, 2, 4, 11, 77])
    bars = histogram(first)
    assert bars == [("1", 2), ("2", 1), ("3–5", 1), ("6–10", 0), ("11–20", 1), ("21–50", 0),
                    ("51–100", 1)]  # fmt: skip


def test_bars_beyond_the_last_edge_hold_the_rest() -> None:
    assert histogram(np.array([1, 200_000]))[-1][1] == 1
    assert histogram(np.array([1, 1])) == [("1", 2)]


def test_markdown_is_a_table_whose_rows_have_equal_cells(evaluated: tuple) -> None:
    lines = [line for line in as_markdown(evaluated[0]).splitlines() if line.startswith("|")]
    assert "| R@1 % |" in "\n".join(lines)
    assert {line.count("|") for line in lines[:12]} == {4}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("median_rank", 4.0, "4"), ("median_rank", -16.4875, "-16.5"), ("R@1", 3.0, "+3.0")],
)
def test_figures_are_shown_with_a_digit_at_most(name: str, value: float, shown: str) -> None:
    assert figure(name, value, signed=shown.startswith("+")) == shown
