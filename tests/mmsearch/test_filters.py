"""The language of --where."""

from __future__ import annotations

import pytest

from index_store import (
    AllOf,
    AnyOf,
    Compare,
    Contains,
    Exists,
    Glob,
    Has,
    In,
    Near,
    Not,
    Where,
)
from index_store.errors import BadFilter
from mmsearch.filters import parse_where


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("width > 2000", Compare("width", ">", 2000)),
        ("width>=2e3", Compare("width", ">=", 2000.0)),
        ("lat < -33.5", Compare("lat", "<", -33.5)),
        ("camera = Canon", Compare("camera", "=", "Canon")),
        ("camera == 'EOS \\'5\\' \"D\"'", Compare("camera", "=", "EOS '5' \"D\"")),
        ('camera ~ "canon"', Contains("camera", "canon")),
        ("name glob '*.jpg'", Glob("name", "*.jpg")),
        ("taken >= 2019-07-14", Compare("taken", ">=", "2019-07-14")),
        ("ok = true", Compare("ok", "=", True)),
        ("format in (JPEG, 'PNG', 3)", In("format", ("JPEG", "PNG", 3))),
        ("exists(lat)", Exists("lat")),
        ("not a = 1", Not(Compare("a", "=", 1))),
        (
            "a = 1 or b = 2 and not (c = 3 or d != 4)",
            AnyOf(
                Compare("a", "=", 1),
                AllOf(
                    Compare("b", "=", 2),
                    Not(AnyOf(Compare("c", "=", 3), Compare("d", "!=", 4))),
                ),
            ),
        ),
        ("a = 1 AND b = 1", AllOf(Compare("a", "=", 1), Compare("b", "=", 1))),
        ("name = 'and'", Compare("name", "=", "and")),
        ("keywords has 'New York'", Has("keywords", "New York")),
        ("keywords has 2019", Has("keywords", "2019")),
        ("near(48.85, -2.3, 5)", Near(48.85, -2.3, 5.0)),
        ("taken > 2019", Compare("taken", ">=", "2020")),
        ("taken >= 2019", Compare("taken", ">=", "2019")),
        ("taken <= 2019-07", Compare("taken", "<", "2019-08")),
        ("taken < '2019-07-14 16:20'", Compare("taken", "<", "2019-07-14T16:20")),
        ("mtime = 2019", AllOf(Compare("mtime", ">=", "2019"), Compare("mtime", "<", "2020"))),
        ("taken != 2019", AnyOf(Compare("taken", "<", "2019"), Compare("taken", ">=", "2020"))),
        (
            "taken in (2019)",
            AnyOf(AllOf(Compare("taken", ">=", "2019"), Compare("taken", "<", "2020"))),
        ),
        ("taken ~ 2019", Contains("taken", "2019")),
        ("near = 5", Compare("near", "=", 5)),
    ],
)
def test_a_filter_is_read_as_it_is_meant(text: str, where: Where) -> None:
    assert parse_where(text) == where


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 0),
        ("width", 5),
        ("width >", 7),
        ("width > 5 camera = 3", 10),
        ("width ! 5", 6),
        ("(width > 5", 10),
        ("name = 'open", 7),
        ("a in ()", 6),
        ("= 5", 0),
        ("width > 1 and taken > soon", 22),
        ("taken = 2019-13", 8),
        ("near(91, 0, 5)", 5),
        ("near(1, x, 5)", 8),
        ("near(1, 2)", 9),
        ("keywords has", 12),
        ("(" * 40 + "a=1" + ")" * 40, 32),
    ],
)
def test_a_bad_filter_points_at_the_place(text: str, column: int) -> None:
    with pytest.raises(BadFilter) as error:
        parse_where(text)
    assert error.value.column == column
    assert str(error.value).endswith(f"\n  {' ' * column}^")
