"""The language of `--where`, parsed into the store's filters.

width > 2000 and (camera ~ "canon" or not exists(camera))

expression   = term { "or" term }
term         = factor { "and" factor }
factor       = "not" factor | "(" expression ")" | "exists" "(" field ")"
             | "near" "(" lat "," lon "," km ")" | comparison
comparison   = field operator value | field "in" "(" value { "," value } ")"
operator     = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" (contains) | "glob" | "has"
value        = number | "text" | 'text' | word | true | false

The fields `taken` and `mtime` are compared with dates: 2019 is the whole year.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from index_store.errors import BadFilter
from index_store.where import (
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
    Operator,
    Value,
    Where,
)
from mmsearch.dates import Span, span_of

T = TypeVar("T")
DATES = frozenset({"taken", "mtime"})
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.:-]))
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<symbol><=|>=|!=|==|[=<>~(),])
    | (?P<word>[\w.:/+-]+)
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Operator] = {
    "=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip


def parse_where(text: str) -> Where:
    """Return the filter that `text` says.

    Raises:
        BadFilter: with `column`, the 0-based place where it stops to make sense; the message
            shows it.
    """
    parser = _Parser(text)
    where = parser.expression()
    if parser.kind != "end":
        parser.fail("expected 'and', 'or' or the end")
    return where


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._next = 0
        self._depth = 0
        self._step()

    def fail(self, what: str, column: int | None = None) -> NoReturn:
        column = self._column if column is None else column
        pointer = " " * column + "^"
        raise BadFilter(f"bad filter: {what}\n  {self._text}\n  {pointer}", column)

    def expression(self) -> Where:
        return self._joined("or")

    def _joined(self, word: str) -> Where:
        parts = []
        while True:
            parts.append(self._joined("and") if word == "or" else self._factor())
            if not self._takes(word):
                break
        if len(parts) == 1:
            return parts[0]
        return AnyOf(*parts) if word == "or" else AllOf(*parts)

    def _factor(self) -> Where:
        self._depth += 1
        if self._depth > 32:
            self.fail("nested too deep")
        try:
            if self._takes("not"):
                return Not(self._factor())
            if self._takes("("):
                inner = self.expression()
                self._expect(")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Where:
        if self.kind != "word":
            self.fail("expected the name of a field")
        field = self._take()
        if field.lower() == "exists" and self._takes("("):
            if self.kind != "word":
                self.fail("expected the name of a field")
            inner = self._take()
            self._expect(")")
            return Exists(inner)
        if field.lower() == "near" and self._takes("("):
            return self._near()
        if self._takes("in"):
            return self._in(field)
        for word, leaf in (("~", Contains), ("glob", Glob), ("has", Has)):
            if self._takes(word):
                return leaf(field, self._text_value())
        operator = _COMPARISONS.get(self.token)
        if self.kind != "symbol" or operator is None:
            self.fail("expected one of = != < <= > >= ~ glob has in")
        self._step()
        return self._compare(field, operator)

    def _compare(self, field: str, operator: Operator) -> Where:
        if field not in DATES:
            return Compare(field, operator, self._value())
        span = self._date()
        start, end = span.start, span.end
        match operator:
            case ">=":
                span = Span(start, None)
            case "<":
                span = Span(None, start)
            case ">":
                span = Span(end, None)
            case "<=":
                span = Span(None, end)
            case "!=":
                return AnyOf(Span(None, start).where(field), Span(end, None).where(field))
        return span.where(field)

    def _date(self) -> Span:
        column = self._column
        text = self._text_value()
        try:
            return span_of(text)
        except ValueError as error:
            self.fail(str(error), column)

    def _near(self) -> Where:
        column = self._column
        numbers = [self._number()]
        for _ in range(2):
            self._expect(",")
            numbers.append(self._number())
        self._expect(")")
        try:
            return Near(*numbers)
        except BadFilter as error:
            self.fail(str(error), column)

    def _number(self) -> float:
        if self.kind != "number":
            self.fail("expected a number")
        return float(self._take())

    def _in(self, field: str) -> Where:
        self._expect("(")
        if field in DATES:
            return AnyOf(*(span.where(field) for span in self._list(self._date)))
        return In(field, tuple(self._list(self._value)))

    def _list(self, read: Callable[[], T]) -> list[T]:
        values = [read()]
        while self._takes(","):
            values.append(read())
        self._expect(")")
        return values

    def _value(self) -> Value:
        kind, token = self.kind, self.token
        if kind not in {"number", "string", "word"}:
            self.fail("expected a number or a text")
        self._step()
        if kind == "number":
            return float(token) if re.search(r"[.eE]", token) else int(token)
        if kind == "string":
            return _unquoted(token)
        return {"true": True, "false": False}.get(token.lower(), token)

    def _text_value(self) -> str:
        """Return the next value as it is written: 2019 stays a text."""
        token = self.token
        return token if isinstance(self._value(), int | float) else _unquoted(token)

    def _take(self) -> str:
        token = self.token
        self._step()
        return token

    def _takes(self, token: str) -> bool:
        """Step over the token if it is next; keywords in either case, never in quotes."""
        if self.kind in {"word", "symbol"} and self.token.lower() == token:
            self._step()
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._takes(token):
            self.fail(f"expected {token!r}")

    def _step(self) -> None:
        rest = self._text[self._next :]
        self._column = self._next + len(rest) - len(rest.lstrip())
        match = _TOKEN.match(self._text, self._next)
        if match:
            self.kind, self.token = str(match.lastgroup), match[str(match.lastgroup)]
            self._next = match.end()
        elif rest.strip():
            self.fail("this cannot be read (is a quote not closed?)")
        else:
            self.kind, self.token = "end", ""


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "'\"" else token
