"""Filters over stored items: a small tree, compiled to SQL with bound values only.

    AllOf(Compare("width", ">", 2000), Contains("camera", "canon"))

A field is `key`, `kind`, `uri` or `text`, or else a name in the item's meta. A comparison
holds only for a value of its own type: `width > "a"` is true of no number. Where a field is
missing every comparison is false, so `Not(Compare("camera", "=", "X"))` finds items that have
no camera at all, and `Compare("camera", "!=", "X")` does not. Of a list of texts (keywords) a
comparison with a text holds if it holds for one of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from index_store.errors import BadFilter
from index_store.geo import box_around
from index_store.rows import storable

Value = str | int | float | bool
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
OPERATORS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")
COLUMNS = ("key", "kind", "uri", "text")
MAX_DEPTH = 32
_FLAT = 8  # conditions in a row
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")


@dataclass(frozen=True, slots=True)
class Compare:
    field: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """The field equals one of the values."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """The field's text has `part` in it, upper and lower case (of ASCII) alike."""

    field: str
    part: str


@dataclass(frozen=True, slots=True)
class Glob:
    """The field's text matches a pattern of * ? [abc]; * crosses slashes; case counts."""

    field: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Prefix:
    field: str
    start: str


@dataclass(frozen=True, slots=True)
class Has:
    """The field's list has this word, whole, upper and lower case alike; or it is this word."""

    field: str
    word: str


@dataclass(frozen=True, slots=True)
class Near:
    """The fields lat and lon are a place at most `km` from this one, along the globe.

    Raises:
        BadFilter: no such place or distance.
    """

    lat: float
    lon: float
    km: float

    def __post_init__(self) -> None:
        on_globe = -90 <= self.lat <= 90 and -180 <= self.lon <= 180
        if not on_globe or not 0 <= self.km <= 25_000:
            raise BadFilter(
                f"{self.lat:g}, {self.lon:g}, {self.km:g} is no place with a distance: latitude "
                "-90 to 90, longitude -180 to 180, kilometres"
            )


@dataclass(frozen=True, slots=True)
class Exists:
    field: str


@dataclass(frozen=True, slots=True)
class Not:
    part: Where


@dataclass(frozen=True, slots=True, init=False)
class AllOf:
    """Every part holds; of no parts: always."""

    parts: tuple[Where, ...]

    def __init__(self, *parts: Where) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True, slots=True, init=False)
class AnyOf:
    """At least one part holds; of no parts: never."""

    parts: tuple[Where, ...]

    def __init__(self, *parts: Where) -> None:
        object.__setattr__(self, "parts", parts)


Where = Compare | In | Contains | Glob | Prefix | Has | Near | Exists | Not | AllOf | AnyOf


def path_glob(pattern: str) -> Where:
    """Return a filter on the key: a relative pattern may start at any folder."""
    absolute = pattern.startswith(("/", "*")) or pattern[1:3] == ":/"
    return Glob("key", pattern if absolute else f"*/{pattern}")


def to_sql(where: Where) -> tuple[str, list[Any]]:
    """Return an SQL condition over table `item` and its bound values.

    Raises:
        BadFilter: no filter, a field name that cannot be one, an unknown operator, a text that
            is no Unicode (a lone surrogate), or deeper than 32.
    """
    sql, values = _compiled(where, 0)
    for value in values:
        if isinstance(value, str) and not storable(value):
            raise BadFilter(f"{value!r} is no valid Unicode: nothing that is stored can match it")
    return sql, values


def _compiled(where: Where, depth: int) -> tuple[str, list[Any]]:
    if depth > MAX_DEPTH:
        raise BadFilter(f"the filter is nested deeper than {MAX_DEPTH}")
    match where:
        case AllOf(parts) | AnyOf(parts):
            return _joined(parts, " AND " if isinstance(where, AllOf) else " OR ", depth)
        case Not(part):
            sql, values = _compiled(part, depth + 1)
            return f"NOT ({sql})", values
        case In(field, choices):
            # One list: as many comparisons joined by OR are deeper than SQLite goes.
            marks = ", ".join("?" * len(choices))
            leaf = _text_leaf if any(isinstance(c, str) for c in choices) else _leaf
            return leaf(field, f"{{}} IN ({marks})", *map(_bindable, choices))
        case Compare(field, operator, value):
            return _compare(field, operator, value)
        case Contains(field, part):
            pattern = re.sub(r"([\\%_])", r"\\\1", part)
            return _text_leaf(field, "{} LIKE ? ESCAPE '\\'", f"%{pattern}%")
        case Glob(field, pattern):
            return _text_leaf(field, "{} GLOB ?", pattern)
        case Has(field, word):
            # NOCASE knows ASCII alone: the usual spellings stand in for the rest.
            word = unicodedata.normalize("NFC", word.strip())
            spellings = [word, word.lower(), word.upper(), word.capitalize(), word.title()]
            return _text_leaf(field, "{} COLLATE NOCASE IN (?, ?, ?, ?, ?)", *spellings)
        case Near(lat, lon, km):
            return _near(lat, lon, km)
        case Prefix("key", start):
            # The range uses the table's index, the rest is for names with odd characters.
            return "item.key >= ? AND substr(item.key, 1, length(?)) = ? AND item.key < ?", [
                start, start, start, f"{start}\U0010ffff",
            ]  # fmt: skip
        case Prefix(field, start):
            # substr, not GLOB: the start may hold any character.
            return _leaf(field, "substr({}, 1, length(?)) = ?", start, start)
        case Exists(field):
            return _leaf(field, "{} IS NOT NULL")
        case _:
            raise BadFilter(f"{where!r} is no filter; mmsearch.parse_where makes one of a text")


def _joined(parts: Sequence[Where], word: str, depth: int) -> tuple[str, list[Any]]:
    compiled = [_compiled(p, depth + 1) for p in parts]
    if not compiled:
        return ("1" if word == " AND " else "0"), []
    return _balanced([s for s, _ in compiled], word), [v for _, vs in compiled for v in vs]


def _balanced(conditions: Sequence[str], word: str) -> str:
    """Return the conditions joined by halves: SQLite goes 1,000 deep, and a row of ORs is one
    deeper with each."""
    if len(conditions) <= _FLAT:
        return "(" + word.join(f"({c})" for c in conditions) + ")"
    half = len(conditions) // 2
    return f"({_balanced(conditions[:half], word)}{word}{_balanced(conditions[half:], word)})"


def _compare(field: str, operator: Operator, value: Value) -> tuple[str, list[Any]]:
    if operator not in OPERATORS:
        raise BadFilter(f"unknown operator {operator!r} (known: {', '.join(OPERATORS)})")
    value = _bindable(value)
    # Without the type check SQLite orders every text above every number.
    if isinstance(value, str):
        return _text_leaf(field, f"typeof({{}}) = 'text' AND {{}} {operator} ?", value)
    return _leaf(field, f"typeof({{}}) IN ('integer', 'real') AND {{}} {operator} ?", value)


def _bindable(value: Value) -> Value:
    """Return a number that SQLite can take: its integers end at 64 bits."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def _near(lat: float, lon: float, km: float) -> tuple[str, list[Any]]:
    # The box first: SQLite need not call Python for what lies outside.
    (south, north), ranges = box_around(lat, lon, km)
    sides = AnyOf(*(AllOf(Compare("lon", ">=", w), Compare("lon", "<=", e)) for w, e in ranges))
    box = AllOf(Compare("lat", ">=", south), Compare("lat", "<=", north), sides)
    sql, values = _compiled(box, 0)
    exact = f"coalesce(great_circle_km({_column('lat')}, {_column('lon')}, ?, ?) <= ?, 0)"
    return f"{sql} AND {exact}", [*values, lat, lon, km]


def _text_leaf(field: str, template: str, *values: Value) -> tuple[str, list[Any]]:
    """As `_leaf`; of a list of texts, whether it holds for one of them."""
    if field in COLUMNS:
        return _leaf(field, template, *values)
    path = _path(field)
    element = template.replace("{}", "element.value")
    some = f"EXISTS (SELECT 1 FROM json_each(item.meta, {path}) AS element WHERE {element})"
    whole, bound = _leaf(field, template, *values)
    return (
        f"CASE json_type(item.meta, {path}) WHEN 'array' THEN {some} ELSE {whole} END",
        [*values, *bound],
    )


def _leaf(field: str, template: str, *values: Value) -> tuple[str, list[Any]]:
    """Fill the field into the template; unknown (NULL) counts as false."""
    return f"coalesce({template.replace('{}', _column(field))}, 0)", list(values)


def _column(field: str) -> str:
    return f"item.{field}" if field in COLUMNS else f"json_extract(item.meta, {_path(field)})"


def _path(field: str) -> str:
    if not _FIELD.fullmatch(field):
        raise BadFilter(f"{field!r} cannot be the name of a field")
    return f"'$.\"{field}\"'"  # the name is checked and can hold no quote
