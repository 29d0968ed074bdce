"""Date words in a question: "beach last summer" asks for a beach, and for a time.

Only what is certainly a time is taken for one: a "summer dress", "may" and "1957 chevrolet"
stay words of the question. Every reading is shown to the user, who can switch it off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from mmsearch.dates import Span, spans_in

# Years alone are taken for the time of a picture only after one of these, and only where
# digital photographs begin: "a house built in 1890" tells of the house.
_FIRST_YEAR = 1990
_BARE = re.compile(
    r"(?P<lead>in|since|before|after|until|from|during) (?P<year>(?:19|20)\d\d)(?![\w'’/-]|[.,]\d)",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?P<lead>between|from) (?P<a>(?:19|20)\d\d) (?P<and>and|to|until) (?P<b>(?:19|20)\d\d)\b",
    re.IGNORECASE,
)
# "built in 2010" and the like tell of what is in the picture.
_MADE = re.compile(
    r"\b(?:built|made|founded|born|designed|established|released|painted|printed|model|restored|"
    r"renovated|opened|car|wine|coin|stamp|poster|calendar)\s*$", re.IGNORECASE,
)  # fmt: skip
_LEAD = re.compile(
    r"(?:(?:,|\b(?:taken|shot|photographed|photos?|pictures?))\s+)?"
    r"\b(?P<lead>in the|in|on the|on|from the|from|of|during the|during|since|before|after|until|"
    r"over the)\s+$", re.IGNORECASE,
)  # fmt: skip
_TAIL = re.compile(
    r"\s*(?:$|[,.;!?)]|(?:in|on|at|with|by|near|and|under|during|from|of|over|inside|outside|around|"
    r"behind|for|to)\b)", re.IGNORECASE,
)  # fmt: skip
_CERTAIN = re.compile(r"\d{4}|\bago$|\b(?:last|past) (?!\D*$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, read: what to look for, the words that are a time, and the time itself."""

    text: str
    words: str = ""
    span: Span | None = None


def read_dates(text: str, today: date | None = None) -> Asked:
    """Return the question without its date words, and their span; as it is if it has none.

    Of several dates the first counts, and the others stay words. A question that is nothing
    but a date keeps its words and has the span besides.
    """
    today = today or date.today()
    found = _years(text, today) or _worded(text, today)
    if found is None:
        return Asked(text)
    start, end, span = found
    rest = " ".join(f"{text[:start].rstrip(' ,')} {text[end:].lstrip(' ,')}".split())
    return Asked(rest if re.search(r"\w", rest) else text, text[start:end].strip(" ,"), span)


def _years(text: str, today: date) -> tuple[int, int, Span] | None:
    if match := _BETWEEN.search(text):
        first, last = sorted((int(match["a"]), int(match["b"])))
        pair = (match["lead"].lower(), match["and"].lower())
        known = pair in {("between", "and"), ("from", "to"), ("from", "until")}
        if known and first >= _FIRST_YEAR and last <= today.year:
            return match.start(), match.end(), Span(str(first), str(last + 1))
    for match in _BARE.finditer(text):
        year = int(match["year"])
        begins = match.start() == 0 or not text[match.start() - 1].isalnum()
        about = _MADE.search(text[: match.start()])
        ends = _TAIL.match(text, match.end())
        if begins and ends and not about and _FIRST_YEAR <= year <= today.year:
            span = Span(str(year), str(year + 1))
            return match.start(), match.end(), _related(match["lead"], span)
    return None


def _worded(text: str, today: date) -> tuple[int, int, Span] | None:
    for start, end, span in sorted(spans_in(text, today), key=lambda found: (found[0], -found[1])):
        lead = _LEAD.search(text[:start])
        # "last week magazine", "today show": what follows may make it the name of a thing.
        if not _CERTAIN.search(text[start:end]) and not _TAIL.match(text, end):
            continue
        if _MADE.search(text[: lead.start() if lead else start]):
            continue
        if lead:
            return lead.start(), end, _related(lead["lead"], span)
        return start, end, span
    return None


def _related(lead: str, span: Span) -> Span:
    match lead.lower():
        case "since":
            return Span(span.start, None)
        case "until":
            return Span(None, span.end)
        case "before":
            return Span(None, span.start)
        case "after":
            return Span(span.end, None)
    return span
