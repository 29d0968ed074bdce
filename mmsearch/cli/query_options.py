"""Options that say which items a search looks at, and in which order it shows them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.options import build_filter, filter_options, note
from mmsearch.uris import printable

if TYPE_CHECKING:
    from index_store import Collection, Where
    from index_store.types import Kind
    from mmsearch.types import MinScore, Part

F = TypeVar("F", bound=Callable[..., Any])
_PERHAPS = re.compile(r"\d{4}|\b(?:last|this|past|ago|yesterday|today)\b", re.IGNORECASE)


def _place(ctx: click.Context, param: click.Parameter, value: str | None) -> Where | None:
    if value is None:
        return None
    from index_store import Near
    from index_store.errors import BadFilter

    try:
        lat, lon, km = map(float, value.split(","))
        return Near(lat, lon, km)
    except BadFilter as error:
        raise click.BadParameter(str(error), ctx, param) from error
    except ValueError as error:
        what = "expected LAT,LON,KM: degrees and kilometres, as in 48.8584,2.2945,5"
        raise click.BadParameter(what, ctx, param) from error


def condition_options(command: F) -> F:
    """Add --since, --until, --camera, --near and --tag beside --where and --path."""
    for option in (
        click.option("--tag", "tags", multiple=True, metavar="WORD",
                     help="Only pictures with this keyword, or this tag of `tag` (several: with "
                     "all of them)."),
        click.option("--near", callback=_place, metavar="LAT,LON,KM",
                     help="Only pictures taken within so many kilometres of a place."),
        click.option("--camera", "cameras", multiple=True, metavar="NAME",
                     help="Only pictures of a camera whose name has this in it (several: any)."),
        click.option("--until", metavar="DATE", help="Only pictures taken until then, that day, "
                     "month or year included."),
        click.option("--since", metavar="DATE", help="Only pictures taken since then: 2019, "
                     "2019-07, 2019-07-14, yesterday, 'last summer', '3 weeks ago'."),
    ):  # fmt: skip
        command = option(command)
    return filter_options(command)


def order_options(command: F) -> F:
    """Add --sort and --parse/--no-parse."""
    command = click.option(
        "--parse/--no-parse", default=True,
        help="Take date words in the question, as in 'beach last summer', for a time, and say "
        "so; or for words.  [default: parse]",
    )(command)  # fmt: skip
    return click.option(
        "--sort", type=click.Choice(["score", "date", "name"]), default="score",
        show_default=True, help="Order of the hits found: the best, the newest or A first.",
    )(command)  # fmt: skip


def build_condition(
    *, where: str | None, paths: tuple[str, ...], since: str | None, until: str | None,
    cameras: tuple[str, ...], near: Where | None, tags: tuple[str, ...],
) -> Where | None:  # fmt: skip
    """Return the filter that the options of `condition_options` say together, or None.

    Raises:
        BadFilter: --where cannot be read.
        UsageError: --since or --until is no date.
    """
    condition = build_filter(where, paths)
    if not (cameras or near or tags) and since is None and until is None:
        return condition
    from index_store.where import AllOf, AnyOf, Contains, Has
    from mmsearch.dates import taken_between

    parts = [p for p in (condition, near) if p is not None]
    if since is not None or until is not None:
        try:
            parts.append(taken_between(since, until))
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if cameras:
        parts.append(AnyOf(*(Contains("camera", c) for c in cameras)))
    return AllOf(*parts, *(AnyOf(Has("keywords", tag), Has("tags", tag)) for tag in tags))


def _score(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    if value is None or value == "auto":
        return value
    try:
        score = float(value)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise click.BadParameter("expected a number or auto", ctx, param)
    return score


def cutoff_option(command: F) -> F:
    """Add --min-score, given to the command as None, "auto" or a number."""
    return click.option(
        "--min-score", callback=_score, metavar="X|auto",
        help="Only hits that score at least X; auto: those that stand out of what chance reaches "
        "in this collection. Without any: \"no match\", exit code 1.",
    )(command)  # fmt: skip


def note_cut(min_score: MinScore, found: int) -> None:
    """Say on stderr that there is no match, where a cut-off decided."""
    if min_score is not None and not found:
        note("no match: nothing " + ("stands out of this collection's background"
             if min_score == "auto" else f"scores {min_score:g} or more"))  # fmt: skip


def both(a: Where | None, b: Where | None) -> Where | None:
    """Return the filter that both hold; None is none."""
    if a is None or b is None:
        return a or b
    from index_store.where import AllOf

    return AllOf(a, b)


def read_question(text: str, kind: Kind, *, parse: bool) -> tuple[str, Where | None]:
    """Return what to look for, and when it was taken if the question says; tells on stderr."""
    # Captions have no date. Most questions name no time: they need not wait for the patterns.
    if not parse or kind != "image" or not _PERHAPS.search(text):
        return text, None
    from mmsearch.asking import read_dates

    asked = read_dates(text)
    if asked.span is None:
        return text, None
    left = "" if asked.text == text else f", looking for {printable(asked.text)!r}"
    note(f"{printable(asked.words)!r}: taken {asked.span}{left} (--no-parse: as words)")
    return asked.text, asked.span.where()


def within_option(command: F) -> F:
    """Add --within: see `within_filter`."""
    return click.option(
        "--within", type=click.Choice(["last"]),
        help="Only the hits of the last search of this collection.",
    )(command)  # fmt: skip


def within_filter(within: str | None, store: Path, collection: str) -> Where | None:
    """Return the filter that an item was a hit of the last search, or None if not asked for.

    Raises:
        UsageError: nothing was searched yet, or nothing found.
    """
    if within is None:
        return None
    from index_store import In
    from mmsearch.cli.last import recall

    keys = recall(store, collection)
    if not keys:
        raise click.UsageError("--within last: the last search of this collection found nothing")
    return In("key", tuple(keys))


def note_language(model: str, parts: Sequence[Part]) -> None:
    """Say on stderr that the starter knows English only, where a question is not in it for sure:
    it has letters beyond English."""
    text = "".join(p.text or "" for p in parts)
    if model == "starter" and any(c.isalpha() and not c.isascii() for c in text):
        note("the model starter knows English only; `mmsearch models list` has others")


def note_undated(collection: Collection, kind: Kind) -> None:
    """Say on stderr how many pictures name no date, where a date decides."""
    from index_store.where import Exists, Not

    if kind == "image" and (undated := collection.count("image", Not(Exists("taken")))):
        of = collection.count("image")
        note(f"{undated:,} of {of:,} pictures do not say when they were taken; they are left out")
