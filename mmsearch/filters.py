"""The language of `--where`, parsed into the store's filters.

width > 2000 and (camera ~ "canon" or not exists(camera))

expression   = term { "or" term }
term         = factor { "and" factor }
factor       = "not" factor | "(" expression ")" | "exists" "(" field ")" | comparison
comparison   = field operator value | field "in" "(" value { "," value } ")"
operator     = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" (contains) | "glob"
value        = number | "text" | 'text' | word | true | false
"""

from __future__ import annotations

import re
from typing import NoReturn

from index_store.errors import BadFilter
from index_store.where import (
    AllOf,
    AnyOf,
    Compare,
    Contains,
    Exists,
    Glob,
    In,
    Not,
    Operator,
    Value,
    Where,
)

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

    def fail(self, what: str) -> NoReturn:
        pointer = " " * self._column + "^"
        raise BadFilter(f"bad filter: {what}\n  {self._text}\n  {pointer}", self._column)

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
        if self._takes("in"):
            return self._in(field)
        if self._takes("~"):
            return Contains(field, str(self._value()))
        if self._takes("glob"):
            return Glob(field, str(self._value()))
        operator = _COMPARISONS.get(self.token)
        if self.kind != "symbol" or operator is None:
            self.fail("expected one of = != < <= > >= ~ glob in")
        self._step()
        return Compare(field, operator, self._value())

    def _in(self, field: str) -> Where:
        self._expect("(")
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        self._expect(")")
        return In(field, tuple(values))

    def _value(self) -> Value:
        kind, token = self.kind, self.token
        if kind not in {"number", "string", "word"}:
            self.fail("expected a number or a text")
        self._step()
        if kind == "number":
            return float(token) if re.search(r"[.eE]", token) else int(token)
        if kind == "string":
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        return {"true": True, "false": False}.get(token.lower(), token)

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
