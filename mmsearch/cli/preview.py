"""Small pictures in the terminal: two pixels a character, in 24-bit colour."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np

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
    lines = []
    pixels = np.asarray(small)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        blocks = (
            f"\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m▀"
            for (r, g, b), (r2, g2, b2) in zip(upper, lower, strict=True)
        )
        lines.append("".join(blocks) + "\x1b[0m")
    return "\n".join(lines)
