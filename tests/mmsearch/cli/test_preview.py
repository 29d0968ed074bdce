"""Pictures in the terminal."""

from __future__ import annotations

import sys

import pytest
from PIL import Image

from mmsearch.cli.preview import can_show, half_blocks


def test_a_line_shows_two_rows_of_pixels() -> None:
    image = Image.new("RGB", (2, 3), "red")
    image.putpixel((0, 1), (0, 0, 255))
    first, second = half_blocks(image.resize((2, 4), Image.Resampling.NEAREST)).split("\n")
    assert first.startswith("\x1b[38;2;255;0;0m")
    assert first.endswith("\x1b[0m")
    assert first.count("▀") == second.count("▀") == 2
    assert "\x1b[48;2;0;0;255m" in first + second


@pytest.mark.parametrize("size", [(1, 1), (500, 3), (3, 500), (640, 480)])
def test_a_picture_of_any_shape_fits(size: tuple[int, int]) -> None:
    lines = half_blocks(Image.new("RGB", size), columns=20, rows=6).split("\n")
    assert 1 <= len(lines) <= 6
    assert all(1 <= line.count("▀") <= 20 for line in lines)


def test_nothing_is_drawn_into_a_pipe_or_against_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not can_show()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert can_show()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not can_show()
