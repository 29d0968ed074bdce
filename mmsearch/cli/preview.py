"""Small pictures in the terminal: two pixels a character, in 24-bit colour."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def can_show() -> bool:
    """Return whether stdout is a terminal that says it has 24-bit colour; NO_COLOR refuses."""
    colors = os.environ.get("COLORTERM", "") in {"truecolor", "24bit"}
    return sys.stdout.isatty() and colors and not os.environ.get("NO_COLOR")


def half_blocks(image: Image, columns: int = 24, rows: int = 8) -> str:
    """Return the picture as at most `rows` lines of at most `columns` characters.

    Each character is an upper half block: its foreground is the upper pixel, its background
    the lower one, so pixels come out about square.
    """
    small = image.convert("RGB")
    small.thumbnail((columns, 2 * rows))
    if small.height % 2:
        small = small.resize((small.width, small.height + 1))
    pixels = small.load()
    assert pixels is not None
    lines = []
    for y in range(0, small.height, 2):
        line = ""
        for x in range(small.width):
            upper, lower = pixels[x, y], pixels[x, y + 1]
            line += "\x1b[38;2;{};{};{}m\x1b[48;2;{};{};{}m▀".format(*upper, *lower)
        lines.append(line + "\x1b[0m")
    return "\n".join(lines)
