"""The words of a collection's items in an index of their own: SQLite's FTS5, beside the store.

STORE/lex/c1.db is derived, as the files in STORE/idx are: deleting it loses nothing, the next
question by words builds it anew. It follows the collection's commits: `refresh` reads what is
newer than the commit it has seen, so writers know nothing of it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from index_store import rows
from index_store.db import BUSY_TIMEOUT_S, DAMAGE, ReadPool
from index_store.errors import StoreError
from index_store.types import Item, Kind

LEXICAL = "lex"
FIELDS = ("name", "folder", "text", "tags")
WEIGHTS = (2.0, 1.0, 2.0, 2.0)  # of a word in each of the fields
# What BM25 gives a word of weight 2 that stands once in a text of average length, beside how rare
# it is: f (k1 + 1) / (f + k1) with f = 2 and FTS5's k1 = 1.2.
_ONCE = 2 * 2.2 / (2 + 1.2)
FORMAT = 3
Progress = Callable[[int, int], object]
T = TypeVar("T")
# Scripts that put no space between words (Thai to Burmese, Khmer, Han, kana), or join them to
# others (Korean): each letter is a word in the index, and a question asks for pairs of neighbours,
# as Lucene's CJKBigramFilter does.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_LETTER = re.compile(f"([{_UNSPACED}])")
_RUN = re.compile(f"([{_UNSPACED}]+)")
_VOWEL_POINTS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670]"
)
# Words of questions that say nothing; without them a question need not read half of all rows.
_STOP = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it", "its", "of",
    "on", "or", "some", "that", "the", "their", "there", "this", "to", "with", "who",
))  # fmt: skip
_SCHEMA = f"""
CREATE TABLE state (format INTEGER, recipe TEXT, seq INTEGER, docs INTEGER);
CREATE TABLE doc (id INTEGER PRIMARY KEY, key TEXT, kind TEXT, picture TEXT);
CREATE INDEX doc_picture ON doc (picture) WHERE kind = 'text';
CREATE VIRTUAL TABLE words USING fts5({", ".join(FIELDS)},
    tokenize = "porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'");
INSERT INTO words (words, rank) VALUES ('rank', 'bm25({", ".join(map(str, WEIGHTS))})');
"""


@dataclass(frozen=True, slots=True)
class Found:
    """An item that has words of the question.

    score: BM25, higher is better. share: the same as a part of what a text of average length
    gets that has every word of the question once; a short one gets more.
    """

    key: str
    score: float
    share: float


@dataclass(frozen=True, slots=True)
class Words:
    """What an item says in words.

    fields: a text for some of FIELDS. picture: key of the picture that the item speaks of, of
    a picture its own; "" if there is none.
    """

    fields: Mapping[str, str]
    picture: str = ""


class Lexicon:
    """Made by `Collection.lexicon`. Safe to use from threads."""

    def __init__(
        self, store: Path, collection: int, readers: ReadPool,
        words: Callable[[Item], Words], recipe: str, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self._store, self._collection, self._readers = store, collection, readers
        self._words, self._recipe, self._progress = words, recipe, progress
        self._path = store / LEXICAL / f"c{collection}.db"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def search(
        self, text: str, k: int, *, kind: Kind = "image", among: Container[str] | None = None
    ) -> list[Found]:  # fmt: skip
        """Return up to k items of that kind with words of `text`, best first.

        A picture is found by its own words and by those of texts that speak of it. Words count
        in any form ("dogs" finds "dog") and without accents; one of them is enough.

        Args:
            among: only items of these keys.

        Raises:
            StoreCorrupt: a row is not what was written.
        """
        phrases = _phrases(text)
        if not phrases or k < 1:
            return []
        owner, condition = ("picture", "doc.picture <> ''") if kind == "image" else (
            "key", "doc.kind = 'text'")  # fmt: skip
        sql = (
            f"SELECT doc.{owner}, words.rank FROM words JOIN doc ON doc.id = words.rowid "
            f"WHERE words MATCH ? AND {condition} ORDER BY words.rank, doc.id"
        )
        return self._whole(lambda own: _found(own, sql, phrases, k, among))

    def texts_of(self, pictures: Sequence[str]) -> dict[str, list[str]]:
        """Return, for those of the pictures that texts speak of, the texts' keys.

        Raises:
            StoreCorrupt: a row is not what was written.
        """
        sql = (
            "SELECT picture, key FROM doc WHERE kind = 'text' AND picture IN "
            "(SELECT value FROM json_each(?)) ORDER BY id"
        )
        of: dict[str, list[str]] = {}
        for picture, key in self._whole(lambda own: own.execute(sql, [json.dumps([*pictures])])):
            of.setdefault(picture, []).append(key)
        return of

    def _whole(self, ask: Callable[[sqlite3.Connection], Iterable[T]]) -> list[T]:
        """Return what is asked of the words as they are now."""
        with self._lock:
            try:
                return [*ask(self._refreshed())]
            except (*DAMAGE, StoreError):
                self._discard()  # damaged, or of a store that is: then this fails again
                return [*ask(self._refreshed())]

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _refreshed(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        self._refresh(self._connection)
        return self._connection

    def _discard(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(f"{self._path}{end}").unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        """Open the file; where it cannot be written, a copy in memory is filled anew."""
        try:
            self._path.parent.mkdir(exist_ok=True)
            connection = _connect(self._path)
        except (OSError, sqlite3.OperationalError):
            return _connect(Path(":memory:"))
        try:
            # NORMAL: a power cut may lose the last refresh, which the next one does again.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except DAMAGE as error:
            connection.close()
            if isinstance(error, sqlite3.OperationalError):
                return _connect(Path(":memory:"))
            raise
        return connection

    def _refresh(self, own: sqlite3.Connection) -> None:
        with self._readers.snapshot() as store:
            sql = "SELECT seq FROM collection WHERE id = ?"
            row = store.execute(sql, [self._collection]).fetchone()
            seq = row[0] if row else 0  # deleted since: it has no items
            if self._state(own) == (FORMAT, self._recipe, seq):
                return
            own.execute("BEGIN IMMEDIATE")  # another process may have done it meanwhile
            try:
                state = self._state(own)
                if state is None or state[:2] != (FORMAT, self._recipe) or state[2] > seq:
                    _empty(own)
                    state = (FORMAT, self._recipe, -1)
                if state[2] < seq:
                    self._follow(store, own, since=state[2])
                    own.execute("DELETE FROM state")
                    own.execute("INSERT INTO state SELECT ?, ?, ?, count(*) FROM doc",
                                [FORMAT, self._recipe, seq])  # fmt: skip
                own.execute("COMMIT")
            except BaseException:
                own.execute("ROLLBACK")
                raise

    def _state(self, own: sqlite3.Connection) -> tuple[int, str, int] | None:
        if not own.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
            return None
        row = own.execute("SELECT format, recipe, seq FROM state").fetchone()
        return row and (row[0], row[1], row[2])

    def _follow(self, store: sqlite3.Connection, own: sqlite3.Connection, *, since: int) -> None:
        """Bring in the rows that are newer than a commit, and drop those that are gone."""
        gone = {id_ for (id_,) in own.execute("SELECT id FROM doc")}
        there = store.execute("SELECT id FROM item WHERE collection_id = ?", [self._collection])
        gone.difference_update(id_ for (id_,) in there)
        newer_than = "FROM item WHERE collection_id = ? AND seq > ?"
        which = [self._collection, since]
        done, total = 0, 0
        if self._progress:
            total = store.execute(f"SELECT count(*) {newer_than}", which).fetchone()[0]
        newer = store.execute(f"SELECT {rows.COLUMNS}, id {newer_than}", which)
        _drop(own, gone)
        while some := newer.fetchmany(rows.CHUNK):
            if since >= 0:
                _drop(own, {row[-1] for row in some})
            docs, texts = [], []
            for row in some:
                item = rows.to_item(row[:-1], self._store)
                words = self._words(item)
                docs.append((row[-1], item.key, item.kind, words.picture))
                texts.append((row[-1], *(_plain(words.fields.get(f, "")) for f in FIELDS)))
            own.executemany("INSERT INTO doc VALUES (?, ?, ?, ?)", docs)
            columns, marks = ", ".join(FIELDS), ", ".join("?" * len(FIELDS))
            own.executemany(f"INSERT INTO words (rowid, {columns}) VALUES (?, {marks})", texts)
            done += len(some)
            if self._progress:
                self._progress(done, total)


def _plain(text: str) -> str:
    """Return the text with one form of each letter, in which spaces part all words.

    macOS writes names decomposed, typists write what is composed, full or half width; capitals
    have no sharp s, and FTS5 does not know those of Georgian.
    """
    if text.isascii():
        return text
    text = _VOWEL_POINTS.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return _LETTER.sub(r" \1 ", text)


def _phrases(text: str) -> list[str]:
    """Return what FTS5 is to look for: the words of a question that say something, each once."""
    text = _VOWEL_POINTS.sub("", unicodedata.normalize("NFKC", text)).casefold()
    kept = (c if c == "_" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    asked = [part for word in "".join(kept).split() for part in _RUN.split(word) if part]
    telling = [w for w in asked if w not in _STOP] or asked
    found = (pair for word in telling for pair in _pairs(word))
    return [f'"{phrase}"' for phrase in dict.fromkeys(found)]


def _pairs(word: str) -> list[str]:
    if not _LETTER.match(word):
        return [word]
    return [" ".join(pair) for pair in itertools.pairwise(word)] or [word]


def _found(
    own: sqlite3.Connection, sql: str, phrases: Sequence[str], k: int,
    among: Container[str] | None,
) -> list[Found]:  # fmt: skip
    scores: dict[str, float] = {}
    for key, rank in own.execute(sql, [" OR ".join(phrases)]):
        if among is None or key in among:
            scores.setdefault(key, -rank)
        if len(scores) == k:
            break
    if not scores:
        return []
    whole = _ONCE * sum(_rarity(own, phrase) for phrase in phrases)
    return [Found(key, score, score / whole) for key, score in scores.items()]


def _rarity(own: sqlite3.Connection, phrase: str) -> float:
    """Return the inverse document frequency of a word, as FTS5's bm25 has it."""
    sql = "SELECT (SELECT docs FROM state), count(*) FROM words WHERE words MATCH ?"
    docs, having = own.execute(sql, [phrase]).fetchone()
    return max(math.log((docs - having + 0.5) / (having + 0.5)), 1e-6)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _drop(own: sqlite3.Connection, ids: set[int]) -> None:
    pairs = [(id_,) for id_ in ids]
    own.executemany("DELETE FROM doc WHERE id = ?", pairs)
    own.executemany("DELETE FROM words WHERE rowid = ?", pairs)


def _empty(own: sqlite3.Connection) -> None:
    """Drop all tables and make them anew, inside the caller's transaction."""
    for table in ("state", "doc", "words"):
        own.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            own.execute(statement)


def problem(path: Path) -> str:
    """Return what is wrong with a file of words; "" if nothing is."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _checked(uri)
    except sqlite3.OperationalError as error:
        wal = Path(f"{path}-wal")
        if wal.exists() and wal.stat().st_size:
            return str(error)
    except DAMAGE as error:
        return str(error)
    try:
        # In a folder that cannot be written SQLite makes no shared memory for a log; with no log
        # left there, the file is complete.
        return _checked(f"{uri}&immutable=1")
    except DAMAGE as error:
        return str(error)


def _checked(uri: str) -> str:
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as own:
        found = own.execute("PRAGMA quick_check").fetchone()[0]
        own.execute("SELECT count(*) FROM words WHERE words MATCH 'a'").fetchone()
    return "" if found == "ok" else str(found)
