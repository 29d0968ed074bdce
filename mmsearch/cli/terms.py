"""The words and pictures that a question names, each with its weight; from where a picture comes.

QUERY  = WHAT, or with " + " in it:  TERM { " + " TERM | " - " TERM }
         (beside --image and the like, TERM)
TERM   = [ WEIGHT ":" ] WHAT        "2:golden retriever", "0.5:./dog.jpg", "2:id:3"
WHAT   = a file, a URL, "-", "clipboard:", "id:" KEY, or else words
WEIGHT = a number above 0 and below 1000; what has a digit after its colon is a time or a
         ratio ("2:30", "16:9"), and a file of that name a file
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.uris import is_url, printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.types import Part

STDIN, CLIPBOARD, STORED = "-", "clipboard:", "id:"
MAX_STDIN = 100 << 20
MAX_WEIGHT = 1000
_SIGN = re.compile(r"\s([+-])\s")
_WEIGHT = re.compile(r"(?P<number>[+-]?[\d.,]*\d[\d.,]*)\s*:(?!\d)(?P<what>.*)", re.DOTALL)


def question_parts(query: str | None, *, as_text: bool, parse: bool, alone: bool) -> list[Part]:
    """Return the parts that QUERY itself names: one, or the terms of "horse + 2:stripes - brown".

    Args:
        as_text: it is words, whatever it looks like.
        parse: read " + " as a sum, and weights. A dash alone is no sum: texts have dashes.
        alone: nothing is asked for besides; then a single term needs no weight, and has none.

    Raises:
        UsageError: a weight is none, or weighs nothing.
        BadQuery: a picture cannot be had.
    """
    from mmsearch.types import Part

    if query is None:
        return []
    if as_text:
        return [Part(query)]
    is_sum = " + " in query
    if not parse or is_file(query) or (alone and not is_sum):
        return [part_of(query)]
    pieces = _SIGN.split(query) if is_sum else [query]
    signs = ["+", *pieces[1::2]]
    terms = [(sign, *weighed(term.strip())) for sign, term in zip(signs, pieces[::2], strict=True)]
    return [
        replace(part_of(what), weight=(1.0 if own is None else own) * (1 if sign == "+" else -1))
        for sign, own, what in terms
        if what
    ] or [Part(query)]


def weighed(term: str) -> tuple[float | None, str]:
    """Return a term's own weight, None if it has none, and what it weighs.

    Raises:
        UsageError: the number is no weight, or nothing comes after it.
    """
    found = _WEIGHT.fullmatch(term)
    if found is None or is_file(term):
        return None, term
    number, what = found["number"], found["what"].strip()
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0 < weight < MAX_WEIGHT:
        raise click.UsageError(
            f"{printable(term)}: {number} is no weight; as in 0.5:WORDS, above 0 and below "
            f"{MAX_WEIGHT} (--no-parse: as words)"
        )
    if not what:
        raise click.UsageError(f"{printable(term)}: the weight has nothing after it")
    return weight, what


def described(part: Part) -> str:
    """Return a term of a sum as the user may check it: + 'horse', - 2 x 'brown'."""
    key = None if part.key is None else STORED + part.key
    name = part.text if part.text is not None else key if key is not None else part.image
    size = abs(part.weight)
    times = "" if size == 1 else f"{size:g} x "
    return f"{'-' if part.weight < 0 else '+'} {times}{printable(str(name))!r}"


def part_of(spec: str) -> Part:
    """Return what a text names: a picture (file, URL, -, clipboard:), id:KEY, or else words.

    Raises:
        BadQuery: the picture cannot be had.
    """
    from mmsearch.types import Part

    if spec.startswith(STORED):
        return Part(key=spec.removeprefix(STORED))
    if spec == STDIN:
        return Part(image=_decoded(sys.stdin.buffer.read(MAX_STDIN + 1), "standard input"))
    if spec == CLIPBOARD:
        return Part(image=_clipboard())
    if is_url(spec):
        from mmsearch.fetching import fetch

        return Part(image=_decoded(fetch(spec), spec))
    return Part(image=spec) if is_file(spec) else Part(spec)


def _decoded(data: bytes, name: str) -> Image:
    from mmsearch.errors import BadPicture, BadQuery
    from mmsearch.images import open_picture

    if len(data) > MAX_STDIN:
        raise BadQuery(f"{name}: larger than {MAX_STDIN >> 20} MB")
    try:
        return open_picture(data).image
    except BadPicture as error:
        raise BadQuery(f"cannot search by {printable(name)}: {error}") from error


def _clipboard() -> Image:
    from PIL import ImageGrab

    from mmsearch.errors import BadQuery

    try:
        found = ImageGrab.grabclipboard()
    except (OSError, NotImplementedError, ValueError) as error:
        raise BadQuery(f"the clipboard cannot be read: {error}") from error
    if isinstance(found, list):  # files were copied
        found = next((_decoded(Path(f).read_bytes(), f) for f in found if is_file(f)), None)
    if found is None:
        raise BadQuery("there is no picture in the clipboard")
    return found.convert("RGB")


def is_file(query: str) -> bool:
    try:
        return Path(query).is_file()
    except (OSError, ValueError):
        return False  # too long for a path, or with a NUL
