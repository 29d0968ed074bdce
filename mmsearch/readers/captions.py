"""Captions in a text file beside the picture: photo.txt or photo.jpg.txt for photo.jpg."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path

LINES = 100
BYTES = 64 * 1024


def captions_beside(path: str) -> tuple[str, ...]:
    """Return the captions in a text file: each line that is not empty is one.

    UTF-8, with or without a byte order mark, or UTF-16 with one; what does not decode
    becomes U+FFFD. Of a longer file only the first LINES captions and the whole lines within
    the first BYTES are read.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        raw = file.read(BYTES + 1)
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = raw[:BYTES].decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    lines = text.replace("\0", "").splitlines()
    if len(raw) > BYTES:
        lines = lines[:-1] or lines  # the last line is cut, perhaps within a character
    captions = (line.strip() for line in lines)
    return tuple([c for c in captions if c][:LINES])


def caption_file(name: str, texts: Mapping[str, str]) -> str | None:
    """Return the name of the caption file of a picture, or None.

    Args:
        name: the picture's file name.
        texts: the names of the folder's .txt files, by the name without that suffix.
            "photo.jpg.txt" is preferred to "photo.txt".
    """
    return texts.get(name) or texts.get(name.rpartition(".")[0])
