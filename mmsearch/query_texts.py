"""Texts to measure an index with: what was asked before, and what is known of the pictures."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from index_store import Collection, Item
from index_store.types import Kind

MOST = 400  # as many as `Collection.optimize` measures with
LOGGED = 10_000  # questions that a log keeps
SAMPLE = 2_000  # items that are looked at for what is known of them
LONGEST = 1_000  # characters of a question
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# What cameras, phones and programs call their files says nothing of the picture.
_NAMELESS = frozenset((
    "img", "dsc", "dscn", "dscf", "pict", "pxl", "mvimg", "image", "images", "photo", "photos",
    "picture", "pictures", "screenshot", "scan", "copy", "untitled", "dcim", "export", "camera",
    "edited", "final", "thumb", "tmp", "home", "users", "desktop", "downloads", "jpg", "jpeg",
))  # fmt: skip


def log_query(store: Path, collection: str, text: str) -> None:
    """Remember a question of the user's, for `logged_queries`; where that cannot be written, do
    nothing. Only the newest are kept."""
    path = log_path(store, collection)
    line = json.dumps(text[:LONGEST]) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # One write at the end: lines of two processes do not mix.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)
        if path.stat().st_size > LOGGED * 100:
            _shorten(path)
    except OSError:
        return


def logged_queries(store: Path, collection: str) -> list[str]:
    """Return the different questions of the log, the newest first."""
    return list(dict.fromkeys(reversed(_logged(log_path(store, collection)))))


def log_path(store: Path, collection: str) -> Path:
    """Return the file of a collection's log, among the user's own files: nobody else reads it."""
    from platformdirs import user_data_path

    name = json.dumps([os.fspath(store.absolute()), collection]).encode("utf8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=16).hexdigest()
    return user_data_path("mmsearch", appauthor=False) / "queries" / f"{digest}.jsonl"


def _logged(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            text = json.loads(line)
        except ValueError:
            continue
        if isinstance(text, str) and text.strip():
            found.append(text)
    return found


def _shorten(path: Path) -> None:
    lines = "".join(json.dumps(text) + "\n" for text in _logged(path)[-LOGGED // 2 :])
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(lines, encoding="utf8")
    part.chmod(0o600)
    part.replace(path)


def metadata_texts(collection: Collection, kind: Kind = "image") -> list[str]:
    """Return up to 400 different texts that a user might ask for items of that kind: their
    captions, titles and keywords, and words from the names of their files and folders."""
    keys = collection.keys()
    items = collection.get(keys[:: max(len(keys) // SAMPLE, 1)])
    found: dict[str, str] = {}
    for item in items:
        for text in _texts_of(item) if item.kind == kind else ():
            found.setdefault(text.casefold(), text)
    texts = list(found.values())
    return texts[:: max(len(texts) // MOST, 1)][:MOST]


def _texts_of(item: Item) -> Iterator[str]:
    for name in ("caption", "title"):
        told = item.meta.get(name)
        if isinstance(told, str) and told.strip():
            yield told.strip()
    for name in ("keywords", "tags"):
        words = item.meta.get(name)
        if isinstance(words, list) and words:
            yield ", ".join(words[:4])
    folder, _, file = item.key.rpartition("/")
    named = _words(file.rpartition(".")[0] or file)
    if named:
        yield " ".join([*_words(folder.rpartition("/")[2])[:2], *named[:6]])


def _words(name: str) -> list[str]:
    words = [w.lower() for w in _WORD.findall(_CAMEL.sub(" ", name))]
    return [w for w in words if 3 <= len(w) <= 15 and w not in _NAMELESS]
