"""What a search asks for: one thing, or several with weights; and from where a picture comes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.last import recall
from mmsearch.uris import is_url

if TYPE_CHECKING:
    from PIL.Image import Image

    from index_store import Collection, Where
    from index_store.types import Kind
    from mmsearch.types import MinScore, Part, Query

F = TypeVar("F", bound=Callable[..., Any])
NAMES = ("text", "image", "not", "like", "unlike")
STDIN, CLIPBOARD, STORED = "-", "clipboard:", "id:"
MAX_STDIN = 100 << 20
# Half as much as what is wanted: measured, docs/queries.md.
NOT_WEIGHT = 0.5
# Rocchio's weights (Manning, Raghavan and Schuetze, Introduction to Information Retrieval,
# section 9.1.1: 1, 0.75 and 0.25), over all that is like or unlike.
LIKE_WEIGHT, UNLIKE_WEIGHT = 0.75, 0.25
_TERM = re.compile(r"\s([+-])\s")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the options of `part_options` say."""

    images: tuple[str, ...]
    nots: tuple[str, ...]
    likes: tuple[str, ...]
    unlikes: tuple[str, ...]
    weights: dict[str, float]

    def __bool__(self) -> bool:
        return bool(self.images or self.nots or self.likes or self.unlikes)


def part_options(command: F) -> F:
    """Add --image, --not, --like, --unlike and --weight, given to the command as `chosen`."""

    @wraps(command)
    def gathered(
        *args: Any, images: tuple[str, ...], nots: tuple[str, ...], likes: tuple[str, ...],
        unlikes: tuple[str, ...], weights: tuple[str, ...], **options: Any,
    ) -> Any:  # fmt: skip
        chosen = Chosen(images, nots, likes, unlikes, _weights(weights))
        return command(*args, chosen=chosen, **options)

    wrapped: Any = gathered
    for option in (
        click.option("--weight", "weights", multiple=True, metavar="NAME=W",
                     help="How much a part counts, as in image=0.5: text, image (1), not (0.5), "
                     "like (0.75), unlike (0.25)."),
        click.option("--unlike", "unlikes", multiple=True, metavar="ID",
                     help="Less like this hit: its number in the last search, or its key."),
        click.option("--like", "likes", multiple=True, metavar="ID", help="More like this hit."),
        click.option("--not", "nots", multiple=True, metavar="WORDS|PICTURE",
                     help="What is not wanted: words, a picture, a URL or id:KEY."),
        click.option("--image", "images", multiple=True, metavar="PICTURE",
                     help="And like this picture: a file, a URL, - (standard input), clipboard: "
                     "or id:KEY."),
    ):  # fmt: skip
        wrapped = option(wrapped)
    found: F = wrapped
    return found


def _weights(given: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = -1
        if name not in NAMES or not 0 < weights[name] < 1000:
            raise click.UsageError(
                f"--weight {text}: expected NAME=W, NAME one of {', '.join(NAMES)}, W above 0"
            )
    return weights


def question_parts(query: str | None, *, as_text: bool, sums: bool) -> list[Part]:
    """Return the parts that QUERY itself names: one, or the terms of "horse + stripes - brown".

    Args:
        as_text: it is words, whatever it looks like.
        sums: read " + " as a sum. A dash alone is none: texts have dashes.
    """
    from mmsearch.types import Part

    if query is None:
        return []
    if as_text:
        return [Part(query)]
    first = part_of(query)
    if first.text is None or not sums or " + " not in query:
        return [first]
    pieces = _TERM.split(query)
    signs = ["+", *pieces[1::2]]
    terms = [part_of(text.strip()) for text in pieces[::2]]
    return [
        term if sign == "+" else replace(term, weight=-1.0)
        for sign, term in zip(signs, terms, strict=True)
        if term.text != ""
    ]


def option_parts(chosen: Chosen) -> Iterator[Part]:
    """Yield the parts of --image and --not; `hit_parts` has the rest."""
    for image in chosen.images:
        part = part_of(image)
        if part.text is not None:
            raise click.UsageError(f"--image {image}: there is no such file")
        yield replace(part, weight=chosen.weights.get("image", 1.0), name="image")
    for spec in chosen.nots:
        yield replace(part_of(spec), weight=-chosen.weights.get("not", NOT_WEIGHT), name="not")


def with_keys(parts: Sequence[Part], collection: Collection, store: Path) -> list[Part]:
    """Return the parts, those that name a stored item with its key: see `stored_key`."""
    return [
        p if p.key is None else replace(p, key=stored_key(p.key, collection, store)) for p in parts
    ]


def hit_parts(chosen: Chosen, collection: Collection, store: Path) -> Iterator[Part]:
    """Yield the parts of --like and --unlike, whose weight all of them share."""
    from mmsearch.types import Part

    likes = chosen.weights.get("like", LIKE_WEIGHT) / max(len(chosen.likes), 1)
    unlikes = chosen.weights.get("unlike", UNLIKE_WEIGHT) / max(len(chosen.unlikes), 1)
    for given, weight, name in (
        (chosen.likes, likes, "like"), (chosen.unlikes, -unlikes, "unlike"),
    ):  # fmt: skip
        for text in given:
            yield Part(key=stored_key(text, collection, store), weight=weight, name=name)


def stored_key(name: str, collection: Collection, store: Path) -> str:
    """Return the key of the item of that key or path, or of that number in the last search.

    Raises:
        BadQuery: there is none.
    """
    from mmsearch.errors import BadQuery
    from mmsearch.uris import key_of, printable

    if name.isdecimal():
        return _numbered(name, store, collection.name)
    known = collection.get([name, key_of(name), key_of(Path(name).resolve())])
    if not known:
        raise BadQuery(f"the collection has no item {printable(name)}")
    return known[0].key


def _numbered(number: str, store: Path, collection: str) -> str:
    from mmsearch.errors import BadQuery

    keys = recall(store, collection)
    if not 1 <= int(number) <= len(keys):
        raise BadQuery(f"there is no hit {number}: the last search of this collection had "
                       f"{len(keys)}")  # fmt: skip
    return keys[int(number) - 1]


def one_query(
    parts: Sequence[Part], *, k: int, kind: Kind, where: Where | None, min_score: MinScore
) -> Query:
    """Return the query of these parts, a text or picture first as its main one."""
    from mmsearch.types import Query

    first, *others = parts
    if first.key is not None or first.name:
        return Query(k=k, kind=kind, where=where, parts=tuple(parts), min_score=min_score)
    return Query(first.text, first.image, k, kind, where, tuple(others), first.weight, min_score)


def described(part: Part) -> str:
    """Return a term of a sum as the user may check it: + 'horse'."""
    from mmsearch.uris import printable

    name = part.text if part.text is not None else part.key if part.key is not None else part.image
    return f"{'-' if part.weight < 0 else '+'} {printable(str(name))!r}"


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
    from mmsearch.uris import printable

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
