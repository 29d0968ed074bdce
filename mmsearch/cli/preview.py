"""Small pictures in the terminal: by its own graphics, or two pixels a character."""

from __future__ import annotations

import base64
import os
import select
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

Protocol = Literal["kitty", "iterm", "sixel", "blocks"]
COLUMNS, ROWS = 24, 8  # characters
CELL = 10, 20  # pixels of a character, where a terminal does not scale by itself
_REPLY_S = 0.3  # a terminal that answers does so in milliseconds


def can_show() -> bool:
    """Return whether stdout is a terminal that says it has 24-bit colour; NO_COLOR refuses."""
    colors = os.environ.get("COLORTERM", "") in {"truecolor", "24bit"}
    return sys.stdout.isatty() and colors and not os.environ.get("NO_COLOR")


def protocol() -> Protocol | None:
    """Return how pictures can be drawn on stdout, None if it is no terminal or has no colours.

    $MMSEARCH_PREVIEW decides if it is set. Kitty and iTerm2 (and those that do as they do) are
    known by their variables; sixel is asked for. Inside tmux or screen, which let no graphics
    through, only characters are left.
    """
    if not sys.stdout.isatty():
        return None
    told = os.environ.get("MMSEARCH_PREVIEW", "")
    if told in {"kitty", "iterm", "sixel", "blocks"}:
        return told  # type: ignore[return-value]
    term, program = os.environ.get("TERM", ""), os.environ.get("TERM_PROGRAM", "")
    if not (os.environ.get("TMUX") or term.startswith(("screen", "tmux"))):
        if os.environ.get("KITTY_WINDOW_ID") or term == "xterm-kitty" or program == "ghostty":
            return "kitty"
        if program in {"iTerm.app", "WezTerm"}:
            return "iterm"
        if _has_sixel():
            return "sixel"
    return "blocks" if can_show() else None


def drawn(image: Image, how: Protocol) -> str:
    """Return what to print for a picture of at most `COLUMNS` x `ROWS` characters."""
    if how == "blocks":
        return half_blocks(image)
    small = image.convert("RGB")
    small.thumbnail((COLUMNS * CELL[0], ROWS * CELL[1]))
    if how == "sixel":
        return sixel(small)
    file = BytesIO()
    small.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode("ascii")
    if how == "iterm":
        # https://iterm2.com/documentation-images.html
        return f"\x1b]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:{data}\x07"
    # https://sw.kovidgoyal.net/kitty/graphics-protocol: at most 4,096 bytes a piece.
    parts = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    keys = [f"f=100,a=T,r={ROWS},", *[""] * (len(parts) - 1)]
    return "".join(
        f"\x1b_G{key}m={int(n < len(parts) - 1)};{part}\x1b\\"
        for n, (key, part) in enumerate(zip(keys, parts, strict=True))
    )


def half_blocks(image: Image, columns: int = COLUMNS, rows: int = ROWS) -> str:
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


def sixel(image: Image) -> str:
    """Return the picture as DEC sixels: bands of six rows, in each a line for every colour."""
    indexed = image.convert("RGB").quantize(64)
    palette = np.asarray(indexed.getpalette(), int).reshape(-1, 3) * 100 // 255  # per cent
    pixels = np.asarray(indexed)
    out = [f'\x1bPq"1;1;{image.width};{image.height}']
    for number in np.unique(pixels).tolist():
        r, g, b = palette[number].tolist()
        out.append(f"#{number};2;{r};{g};{b}")
    weights = (1 << np.arange(6))[:, None]
    for top in range(0, image.height, 6):
        band = pixels[top : top + 6]
        lines = []
        for number in np.unique(band).tolist():
            bits = ((band == number) * weights[: len(band)]).sum(0)
            lines.append(f"#{number}" + "".join(chr(63 + b) for b in bits.tolist()))
        out.append("$".join(lines) + "-")
    return "".join(out) + "\x1b\\"


def _has_sixel() -> bool:
    """Ask the terminal for its attributes (DA1); 4 among them is sixel."""
    if not sys.stdin.isatty():
        return False
    try:
        import termios
        import tty
    except ImportError:
        return False  # Windows
    source = sys.stdin.fileno()
    before = termios.tcgetattr(source)
    try:
        tty.setcbreak(source, termios.TCSANOW)
        sys.stdout.write("\x1b[c")
        sys.stdout.flush()
        reply = b""
        while not reply.endswith(b"c") and select.select([source], [], [], _REPLY_S)[0]:
            reply += os.read(source, 64)
    finally:
        termios.tcsetattr(source, termios.TCSANOW, before)
    return b"4" in reply.rstrip(b"c").split(b";")[1:]
