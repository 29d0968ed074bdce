"""Dates as people write them: 2019, 2019-07, yesterday, last summer, 14 July 2019.

Each is a span, "2019" the whole year. English words; the seasons are the northern hemisphere's
(summer is June to August, the winter of a year begins in its December); weeks begin on Monday.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from index_store.where import AllOf, Compare, Where

FIRST_YEAR, LAST_YEAR = 1000, 9998
_ISO = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d))?)?)?)?)?")
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
           "october", "november", "december")  # fmt: skip
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time: from `start` up to, not including, `end`. None: open.

    Both are the beginning of an ISO 8601 local time ("2019-07"), which compares as text with
    a whole one.
    """

    start: str | None
    end: str | None

    def where(self, field: str = "taken") -> Where:
        """Return the filter that the field lies in it."""
        parts = []
        if self.start is not None:
            parts.append(Compare(field, ">=", self.start))
        if self.end is not None:
            parts.append(Compare(field, "<", self.end))
        return parts[0] if len(parts) == 1 else AllOf(*parts)

    def __str__(self) -> str:
        if self.start is None:
            return f"before {self.end}"
        if self.end is None:
            return f"from {self.start} on"
        if len(self.start) > 10 or len(self.end) > 10:
            return f"{self.start} up to {self.end}"
        first, last = _day(self.start), _day(self.end) - timedelta(days=1)
        return str(first) if first == last else f"{first} to {last}"


def taken_between(since: str | None, until: str | None, *, today: date | None = None) -> Where:
    """Return the filter that a picture was taken from `since` to the end of `until`.

    Args:
        since, until: as `span_of` reads them; None: open.
        today: what "yesterday" is before; default: this machine's date.

    Raises:
        ValueError: one of them is no date; the message says which and what is.
    """
    start = None if since is None else span_of(since, today).start
    end = None if until is None else span_of(until, today).end
    return Span(start, end).where()


def span_of(text: str, today: date | None = None) -> Span:
    """Return the span that a text is, whole: 2019, 2019-07-14T16:20, yesterday, last summer.

    Raises:
        ValueError: it is no date; the message says what is one.
    """
    iso = _iso_span(text.strip())
    if iso is not None:
        return iso
    for pattern, meaning in _WORDS:
        match = pattern.fullmatch(text.strip())
        span = match and meaning(match, today or date.today())
        if span:
            return span
    raise ValueError(
        f"{text!r} is no date; as in 2019, 2019-07, 2019-07-14, 2019-07-14T16:20, yesterday, "
        "'last summer', 'march 2021' or '3 weeks ago'"
    )


def spans_in(text: str, today: date) -> Iterator[tuple[int, int, Span]]:
    """Yield all dates in a text: where each begins and ends, and its span."""
    for pattern, meaning in _WORDS:
        for match in pattern.finditer(text):
            if span := meaning(match, today):
                yield match.start(), match.end(), span


def _iso_span(text: str) -> Span | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    parts = [int(p) for p in match.groups() if p is not None]
    try:
        start = datetime(*[*parts, 1, 1][: max(len(parts), 3)])  # type: ignore[arg-type]
    except ValueError:
        return None
    if not FIRST_YEAR <= start.year <= LAST_YEAR:
        return None
    if len(parts) == 1:
        return Span(text, f"{start.year + 1}")
    if len(parts) == 2:
        return Span(text, f"{_months(start.date(), 1):%Y-%m}")
    unit = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))
    length = len(text)
    return Span(text.replace(" ", "T"), (start + unit[len(parts) - 3]).isoformat()[:length])


def _day(start: str) -> date:
    return date.fromisoformat(start + "0000-01-01"[len(start) :])


def _months(day: date, n: int) -> date:
    """Return the first day of the month that comes n months after the day's own."""
    count = day.year * 12 + day.month - 1 + n
    return date(count // 12, count % 12 + 1, 1)


def _days(first: date, end: date) -> Span:
    return Span(first.isoformat(), end.isoformat())


def _month_number(name: str) -> int:
    return next(n for n, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()[:3]))


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    return 1 if text.lower() in {"a", "an"} else _NUMBERS.index(text.lower())


# -- what each form of words means; None if it cannot be ---------------------------------

Meaning = Callable[[re.Match[str], date], Span | None]


def _iso_date(match: re.Match[str], _today: date) -> Span | None:
    return _iso_span(match[0].replace("/", "-"))


def _full_date(match: re.Match[str], _today: date) -> Span | None:
    try:
        day = date(int(match["year"]), _month_number(match["month"]), int(match["day"]))
    except ValueError:
        return None
    return _days(day, day + timedelta(days=1))


def _month_of_year(match: re.Match[str], today: date) -> Span | None:
    first = date(int(match["year"]), _month_number(match["month"]), 1)
    return _days(first, _months(first, 1)) if first <= today else None


def _season_of_year(match: re.Match[str], today: date) -> Span | None:
    first = date(int(match["year"]), _SEASONS[match["season"].lower()], 1)
    return _days(first, _months(first, 3)) if first <= today else None


def _last_season(match: re.Match[str], today: date) -> Span:
    """ "last": the latest that is over; "this": the one of this year."""
    first = date(today.year, _SEASONS[match["season"].lower()], 1)
    if match["which"].lower() == "last":
        while _months(first, 3) > today:
            first = first.replace(year=first.year - 1)
    return _days(first, _months(first, 3))


def _last_month_named(match: re.Match[str], today: date) -> Span:
    first = date(today.year, _month_number(match["month"]), 1)
    while _months(first, 1) > today:
        first = first.replace(year=first.year - 1)
    return _days(first, _months(first, 1))


def _single_day(match: re.Match[str], today: date) -> Span:
    back = {"today": 0, "yesterday": 1}.get(match[0].lower(), 2)
    return _days(today - timedelta(days=back), today - timedelta(days=back - 1))


def _last_unit(match: re.Match[str], today: date) -> Span | None:
    return _ago(match["unit"].lower(), 0 if match["which"].lower() == "this" else 1, today)


def _units_ago(match: re.Match[str], today: date) -> Span | None:
    return _ago(match["unit"].lower().rstrip("s"), _number(match["n"]), today)


def _ago(unit: str, n: int, today: date) -> Span | None:
    """Return the whole day, week, weekend, month or year that was n before today's."""
    monday = today - timedelta(days=today.weekday())
    try:
        if unit == "day":
            return _days(today - timedelta(days=n), today - timedelta(days=n - 1))
        if unit == "week":
            return _days(monday - timedelta(weeks=n), monday - timedelta(weeks=n - 1))
        if unit == "weekend":
            saturday = monday + timedelta(days=5) - timedelta(weeks=n)
            return _days(saturday, saturday + timedelta(days=2))
        if unit == "month":
            return _days(_months(today, -n), _months(today, 1 - n))
        return Span(f"{date(today.year - n, 1, 1).year}", f"{today.year - n + 1}")
    except (ValueError, OverflowError):
        return None


def _past_units(match: re.Match[str], today: date) -> Span | None:
    """ "the last 3 weeks": up to today, in whole days."""
    n, unit = _number(match["n"]), match["unit"].lower().rstrip("s")
    try:
        if unit in {"day", "week"}:
            first = today - timedelta(days=n * (7 if unit == "week" else 1))
        else:
            month = _months(today, -n * (12 if unit == "year" else 1))
            last = (_months(month, 1) - timedelta(days=1)).day
            first = month.replace(day=min(today.day, last))
    except (ValueError, OverflowError):
        return None
    return _days(first, today + timedelta(days=1))


_NAMES = "|".join(_MONTHS)
_SHORT = r"(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?"
_MONTH = rf"(?P<month>{_NAMES}|{_SHORT})"
_SEASON = rf"(?P<season>{'|'.join(_SEASONS)})"
_YEAR = r"(?P<year>(?:19|20)\d\d)(?![\w-]|[.,]\d)"
_DAY = r"(?P<day>[12]\d|3[01]|0?[1-9])"
_N = rf"(?P<n>\d{{1,3}}|an?|{'|'.join(_NUMBERS[1:])})"
_UNIT = r"(?P<unit>days?|weeks?|months?|years?)"

# The longest forms first: what one has read the later ones leave.
_WORDS: tuple[tuple[re.Pattern[str], Meaning], ...] = tuple(
    (re.compile(rf"(?<![\w/.-]){form}(?![\w'’/-])", re.IGNORECASE), meaning)
    for form, meaning in (
        (r"(?:19|20)\d\d([-/])\d\d(?:\1\d\d)?", _iso_date),
        (rf"{_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTH},? {_YEAR}", _full_date),
        (rf"{_MONTH} {_DAY}(?:st|nd|rd|th)?,? {_YEAR}", _full_date),
        (rf"{_MONTH}(?: of|,)? {_YEAR}", _month_of_year),
        (rf"{_SEASON}(?: of|,)? {_YEAR}", _season_of_year),
        (rf"(?<!the )(?P<which>last|this) {_SEASON}", _last_season),
        (rf"(?<!the )last (?P<month>{_NAMES})", _last_month_named),
        (r"(?<!the )(?P<which>last|this) (?P<unit>weekend|week|month|year)", _last_unit),
        (rf"{_N} {_UNIT} ago", _units_ago),
        (rf"(?:the )?(?:last|past) {_N} {_UNIT}", _past_units),
        (r"the day before yesterday|yesterday|today", _single_day),
    )
)
