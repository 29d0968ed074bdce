"""What a search asks for: one thing, or several with weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from math import copysign
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.last import recall
from mmsearch.cli.terms import part_of, weighed

if TYPE_CHECKING:
    from index_store import Collection, Where
    from index_store.types import Kind
    from mmsearch.types import MinScore, Part, Query

F = TypeVar("F", bound=Callable[..., Any])
NAMES = ("text", "image", "not", "like", "unlike")
# Half as much as what is wanted: benchmarks/negatives.py, docs/queries.md.
NOT_WEIGHT = 0.5
# Rocchio's weights (Manning, Raghavan and Schuetze, Introduction to Information Retrieval,
# section 9.1.1: 1, 0.75 and 0.25), over all that is like or unlike.
LIKE_WEIGHT, UNLIKE_WEIGHT = 0.75, 0.25


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
                     help="How much a part counts, as in image=0.5: text (QUERY), image (1), "
                     "not (0.5), like (0.75), unlike (0.25)."),
        click.option("--unlike", "unlikes", multiple=True, metavar="ID",
                     help="Less like this hit: its number in the last search, or its key."),
        click.option("--like", "likes", multiple=True, metavar="ID", help="More like this hit."),
        click.option("--not", "nots", multiple=True, metavar="WORDS|PICTURE",
                     help="What is not wanted: words, a picture, a URL or id:KEY; 0.3:WORDS with a "
                     "weight of its own."),
        click.option("--image", "images", multiple=True, metavar="PICTURE",
                     help="And like this picture: a file, a URL, - (standard input), clipboard: "
                     "or id:KEY; 0.5:PICTURE with a weight of its own."),
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


def option_parts(chosen: Chosen, *, weights: bool) -> Iterator[Part]:
    """Yield the parts of --image and --not; `hit_parts` has the rest.

    Args:
        weights: read a weight of its own, as in "0.5:sea.jpg"; it goes before --weight's.
    """
    given = ((chosen.images, "image", 1.0), (chosen.nots, "not", -NOT_WEIGHT))
    for specs, name, usual in given:
        for spec in specs:
            own, term = weighed(spec) if weights else (None, spec)
            part = part_of(term)
            if name == "image" and part.text is not None:
                raise click.UsageError(f"--image {spec}: there is no such file")
            size = chosen.weights.get(name, abs(usual)) if own is None else own
            yield replace(part, weight=copysign(size, usual), name=name)


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
    """Return the query of these parts, a text or picture first as its main one.

    Raises:
        BadQuery: a text is no Unicode.
    """
    from mmsearch.types import Query
    from mmsearch.uris import check_texts

    check_texts(part.text for part in parts if part.text is not None)
    first, *others = parts
    if first.key is not None or first.name:
        return Query(k=k, kind=kind, where=where, parts=tuple(parts), min_score=min_score)
    return Query(first.text, first.image, k, kind, where, tuple(others), first.weight, min_score)
