"""The tokens and merges of a tokenizer.json as a table, kept in the user's cache.

A question needs some dozens of them, and to have these all of the file would be parsed: 1.7 MB
for CLIP, 34 MB for SigLIP 2. So it is parsed once, and looked up from then on.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from mmsearch.encoders import cache

FORMAT = 1
SCHEMA = """
CREATE TABLE frame (json TEXT);
CREATE TABLE vocab (token TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
CREATE TABLE merge (made TEXT, rank INTEGER, a TEXT, b TEXT, PRIMARY KEY (made, rank))
    WITHOUT ROWID;
"""
_ASKED = "IN (SELECT value FROM json_each(?))"


class TokenTable:
    """What a tokenizer.json says, its vocabulary and its merges to be looked up.

    frame: all the rest; both are empty there.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (text,) = connection.execute("SELECT json FROM frame").fetchone()
        self.frame: dict[str, Any] = json.loads(text)

    def close(self) -> None:
        self._connection.close()

    def numbers(self, tokens: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those of the tokens that the vocabulary has."""
        sql = f"SELECT token, number FROM vocab WHERE token {_ASKED}"
        return dict(self._connection.execute(sql, [json.dumps([*tokens])]))

    def merges(self, made: Iterable[str]) -> list[list[str]]:
        """Return the merges whose result is one of these tokens, in their order."""
        sql = f"SELECT a, b FROM merge WHERE made {_ASKED} ORDER BY rank"
        return [[a, b] for a, b in self._connection.execute(sql, [json.dumps([*made])])]


def table_of(description: str) -> sqlite3.Connection:
    """Return a database in memory for a `TokenTable` of what a tokenizer.json says.

    Of a model that is neither BPE nor WordPiece it has no tokens.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is no such description.
    """
    whole = json.loads(description)
    model = whole["model"]
    vocab, merges = model.pop("vocab"), model.pop("merges", [])
    if not isinstance(vocab, dict):
        vocab = {}  # Unigram has a list, of tokens with their scores
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    connection.execute("INSERT INTO frame VALUES (?)", [json.dumps(whole)])
    connection.executemany("INSERT INTO vocab VALUES (?, ?)", vocab.items())
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    rows = ((a + b, rank, a, b) for rank, (a, b) in enumerate(pairs))
    connection.executemany("INSERT INTO merge VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    return connection


def cached_table(path: Path) -> TokenTable | None:
    """Return the table of a tokenizer.json, made if there is none of this very file.

    None where the cache cannot be written: to make the table each time would take longer than
    to load the tokenizer.

    Raises:
        OSError: the file cannot be read.
        ValueError, LookupError, TypeError, AttributeError: it is no tokenizer.json.
        sqlite3.Error: the table cannot be read.
    """
    entry = cache.entry("tokens", cache.identity([path], salt=str(FORMAT)), ".db")
    if not entry.is_file():
        with suppress(OSError):
            entry.parent.mkdir(parents=True, exist_ok=True)
            if os.access(entry.parent, os.W_OK):
                with closing(table_of(path.read_text("utf-8"))) as made:
                    cache.write(entry, made.serialize())
    if not entry.is_file():
        return None
    uri = f"{entry.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    try:
        return TokenTable(connection)
    except (sqlite3.Error, ValueError, TypeError):
        connection.close()
        entry.unlink(missing_ok=True)  # damaged: made anew next time
        raise
