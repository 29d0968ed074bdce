"""A large JSON file, one entry at a time: never more than one of them is held."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mmsearch.errors import BadSource
from mmsearch.readers.samples import reason_of
from mmsearch.uris import printable

ENTRY_CHARACTERS = 64 << 20  # a longer entry is a broken file, or one that this is not for
_BLOCK = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"[-+.0-9eE]*")


@contextmanager
def json_stream(path: str) -> Iterator[JsonStream]:
    """Open a JSON file to be read entry by entry.

    Raises:
        BadSource: it cannot be read, or is no JSON; the latter when that point is reached.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            yield JsonStream(file)
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
    except (ValueError, RecursionError) as error:
        raise BadSource(f"{printable(path)} is no JSON: {error}") from error


class JsonStream:
    """The text of a JSON file from the point reached so far."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decode = json.JSONDecoder().raw_decode
        self._text, self._at, self._gone = "", 0, 0  # what is held, where in it, what is dropped
        self._ended = False
        self._pending = False  # a member's value has not been read yet

    def peek(self) -> str:
        """Return the next character that is no white space, or "" at the end of the file."""
        while True:
            self._at = _beyond(_SPACE, self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def members(self) -> Iterator[str]:
        """Yield the names in the object that comes next.

        After each its value may be read with `value` or `elements`; otherwise it is passed
        over. An object within is passed over as a whole, a list an element at a time.

        Raises:
            ValueError: no object comes next, or it is broken.
        """
        self._take("{")
        if self.peek() == "}":
            self._take("}")
            return
        while True:
            name = self.value()
            self._take(":")
            self._pending = True
            yield str(name)
            if self._pending and self.peek() == "[":
                for _ in self.elements():
                    pass
            elif self._pending:
                self.value()
            if self._take(",}") == "}":
                return

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the list that comes next.

        Raises:
            ValueError: no list comes next, or it is broken.
        """
        self._pending = False
        self._take("[")
        if self.peek() == "]":
            self._take("]")
            return
        while True:
            yield self.value()
            if self._take(",]") == "]":
                return

    def value(self) -> Any:
        """Return the value that comes next, whole.

        Raises:
            ValueError: it is broken, or longer than ENTRY_CHARACTERS.
        """
        self._pending = False
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                # A number may go on in the next block: of -2.5e3 the start is one too.
                if self._ended or _beyond(_NUMBER, self._text, end) < len(self._text):
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                if self._ended or len(self._text) - self._at > ENTRY_CHARACTERS:
                    raise ValueError(f"{error.msg} at character {self._gone + error.pos}") from None
            self._more()

    def _take(self, wanted: str) -> str:
        found = self.peek()
        if not found or found not in wanted:
            what = f"{found!r} instead of" if found else "it ends before"
            where = f"at character {self._gone + self._at}"
            raise ValueError(f"{what} {' or '.join(map(repr, wanted))} {where}")
        self._at += 1
        return found

    def _more(self) -> None:
        """Drop what has been read, and hold as much again as is left: n bytes cost O(n)."""
        rest = self._text[self._at :]
        block = self._file.read(max(_BLOCK, len(rest)))
        self._gone += self._at
        self._text, self._at, self._ended = rest + block, 0, not block


def _beyond(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
