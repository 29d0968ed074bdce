"""Pictures in the terminal."""

from __future__ import annotations

import re
import sys

import pytest
from PIL import Image

from mmsearch.cli.preview import can_show, half_blocks, sixel


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


def decoded(text: str) -> Image.Image:
    """Read sixels as a terminal does."""
    body = text.removeprefix("\x1bPq").removesuffix("\x1b\\")
    width, height = (int(n) for n in re.findall(r'^"1;1;(\d+);(\d+)', body)[0])
    image = Image.new("RGB", (width, height))
    palette: dict[int, tuple[int, int, int]] = {}
    x = top = color = 0
    for define, use, sign in re.findall(r"#(\d+;2;\d+;\d+;\d+)|#(\d+)|([?-~$-])", body):
        if define:
            number, _, *rgb = (int(n) for n in define.split(";"))
            palette[number] = (rgb[0] * 255 // 100, rgb[1] * 255 // 100, rgb[2] * 255 // 100)
        elif use:
            color = int(use)
        elif sign == "$":
            x = 0
        elif sign == "-":
            x, top = 0, top + 6
        else:
            for bit in range(6):
                if (ord(sign) - 63) >> bit & 1:
                    image.putpixel((x, top + bit), palette[color])
            x += 1
    return image


def test_sixels_show_the_picture() -> None:
    image = Image.new("RGB", (5, 8), "red")
    image.putpixel((1, 7), (0, 0, 255))
    image.putpixel((4, 2), (0, 255, 0))
    shown = decoded(sixel(image))
    assert shown.size == image.size
    assert shown.tobytes() == image.tobytes()
