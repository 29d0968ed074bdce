"""Dates as people write them, and questions that hold some."""

from __future__ import annotations

from datetime import date

import pytest

from index_store import AllOf, Compare
from mmsearch.asking import Asked, read_dates
from mmsearch.dates import Span, span_of, taken_between

TODAY = date(2026, 11, 24)  # a Tuesday


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2019", "2019", "2020"),
        ("2019-12", "2019-12", "2020-01"),
        ("2020-02-29", "2020-02-29", "2020-03-01"),
        ("2019-07-14T16", "2019-07-14T16", "2019-07-14T17"),
        ("2019-07-14 16:59", "2019-07-14T16:59", "2019-07-14T17:00"),
        ("2019-12-31T23:59:59", "2019-12-31T23:59:59", "2020-01-01T00:00:00"),
        ("today", "2026-11-24", "2026-11-25"),
        ("Yesterday", "2026-11-23", "2026-11-24"),
        ("last week", "2026-11-16", "2026-11-23"),
        ("last weekend", "2026-11-21", "2026-11-23"),
        ("this month", "2026-11-01", "2026-12-01"),
        ("last month", "2026-10-01", "2026-11-01"),
        ("last year", "2025", "2026"),
        ("last summer", "2026-06-01", "2026-09-01"),
        ("last autumn", "2025-09-01", "2025-12-01"),  # this one is not over
        ("last winter", "2025-12-01", "2026-03-01"),
        ("winter 2019", "2019-12-01", "2020-03-01"),
        ("last december", "2025-12-01", "2026-01-01"),
        ("14th of July 2019", "2019-07-14", "2019-07-15"),
        ("sept. 3, 2020", "2020-09-03", "2020-09-04"),
        ("two weeks ago", "2026-11-09", "2026-11-16"),
        ("a year ago", "2025", "2026"),
        ("the last 3 days", "2026-11-21", "2026-11-25"),
        ("past 6 months", "2026-05-24", "2026-11-25"),
    ],
)
def test_a_date_is_a_whole_span(text: str, start: str, end: str) -> None:
    assert span_of(text, TODAY) == Span(start, end)


@pytest.mark.parametrize(
    "text", ["", "2019-13", "2019-02-30", "9999", "soon", "summer", "may", "31 june 2020", "x2019"]
)
def test_what_is_no_date_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no date; as in 2019, 2019-07"):
        span_of(text, TODAY)


def test_until_includes_its_day_month_or_year() -> None:
    where = taken_between("2018", "2019-07", today=TODAY)
    assert where == AllOf(Compare("taken", ">=", "2018"), Compare("taken", "<", "2019-08"))
    assert taken_between(None, "yesterday", today=TODAY) == Compare("taken", "<", "2026-11-24")


@pytest.mark.parametrize(
    ("question", "text", "start", "end"),
    [
        ("beach last summer", "beach", "2026-06-01", "2026-09-01"),
        ("dogs in 2019", "dogs", "2019", "2020"),
        ("in 2019 at the sea", "at the sea", "2019", "2020"),
        ("boats before March 2021", "boats", None, "2021-03-01"),
        ("cats since 2020", "cats", "2020", None),
        ("birds after 2020", "birds", "2021", None),
        ("dogs between 2015 and 2017", "dogs", "2015", "2018"),
        ("snow from 2015 to 2017", "snow", "2015", "2018"),
        ("photos taken on 14 july 2019, paris", "photos paris", "2019-07-14", "2019-07-15"),
        ("a dog last year in the snow", "a dog in the snow", "2025", "2026"),
        ("2019-07-14 beach", "beach", "2019-07-14", "2019-07-15"),
        ("yesterday", "yesterday", "2026-11-23", "2026-11-24"),
    ],
)
def test_a_question_is_split_into_what_and_when(
    question: str, text: str, start: str | None, end: str | None
) -> None:
    asked = read_dates(question, TODAY)
    assert (asked.text, asked.span) == (text, Span(start, end))


@pytest.mark.parametrize(
    "question",
    [
        "summer dress", "may", "a girl named may", "march of the penguins", "a protest march",
        "winter", "fall leaves", "a man falls in may", "last summer dress", "the last summer",
        "the last supper", "yesterday's newspaper", "usa today newspaper", "last year's calendar",
        "a house built in 2010", "a 1957 chevrolet", "a car from 1957", "a house from 1890",
        "route 66", "2001 a space odyssey", "in 2000 meters depth", "a crowd of 2000 people",
        "1990s fashion", "in the 80s", "the second dog sat in the sun", "last 2 dogs", "3 days old",
        "a monday morning", "august company", "a vase from 2019x", "version 2019.5", "in 2077",
        "the genocide from 1915 to 1923",
    ],
)  # fmt: skip
def test_what_may_be_something_else_stays_words(question: str) -> None:
    assert read_dates(question, TODAY) == Asked(question)
