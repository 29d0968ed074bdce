"""Paths, keys and URIs of the same file; its stamp and its hash; text that a terminal can take."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath, PureWindowsPath
from urllib.parse import quote_from_bytes, unquote_to_bytes

from mmsearch.errors import BadQuery

_WINDOWS = os.name == "nt"
# Where a file is found by its name in any case, and in any form of its accents.
FOLDS_NAMES = sys.platform in {"win32", "darwin"}
_HASH_BLOCK = 1 << 20  # bytes
_NAME_BYTES = 255  # of UTF-8 (Linux), or of UTF-16 units, which are no more (Windows, macOS)
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³])(\.|$)", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_PARTS = (
    "member=",
    "cell=",
    "entry=",
    "page=",
    "t=",
    "preview",
)  # what names it, see sources

# Escaped although they are no control characters: line separators, direction overrides and
# isolates (they show "gpj.exe" as "exe.jpg"), and the zero-width characters that shape nothing.
# U+200C and U+200D stay: Persian words and family emoji need them. So do U+200E and U+200F.
_UNSEEN = [0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x2060, 0xFEFF]
_ESCAPES = {
    **{c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0))},
    **{c: f"\\u{c:04x}" for c in (*_UNSEEN, *range(0xD800, 0xE000))},
    # A byte that was no UTF-8 in a file's name (surrogateescape) shows as that byte.
    **{c: f"\\x{c - 0xDC00:02x}" for c in range(0xDC80, 0xDD00)},
}


def is_text(text: str) -> bool:
    """Return whether `text` can be written as UTF-8: it holds no lone surrogate."""
    return text.isascii() or _SURROGATE.search(text) is None


def check_texts(texts: Iterable[str]) -> None:
    """Refuse texts that no model can read.

    Raises:
        BadQuery: one of them is no Unicode (a lone surrogate: a byte that was no UTF-8).
    """
    for text in texts:
        if not is_text(text):
            raise BadQuery(f"'{printable(text)}' is no valid Unicode text (UTF-8)")


def clean(text: str) -> str:
    """Return `text` without its outer white space, lone surrogates replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text).strip()


def printable(text: str) -> str:
    r"""Return `text` so that it can neither steer a terminal nor fail to be written.

    Control characters (line breaks too) come out as \xNN, direction overrides, invisible
    characters and lone surrogates as \uNNNN; a byte of a file's name that was no UTF-8 comes
    out as \xNN. Ordinary Unicode stays, and so does the backslash: this is for eyes, it
    cannot be undone.
    """
    return text if text.isprintable() else text.translate(_ESCAPES)


def key_of(path: str | PurePath) -> str:
    """Return the key of a file: its absolute path as POSIX text ("C:/photos/a.jpg" on Windows).

    Links are not resolved and the name keeps the bytes it has on disk: NFC and NFD spellings
    are two files on Linux, so they are two keys. A path that is no valid UTF-8 has its
    `file:` URI as key, because a database's TEXT cannot hold it.
    """
    posix = _posix(path)
    return posix if is_text(posix) else uri_of(path)


def uri_of(path: str | PurePath) -> str:
    """Return the `file:` URI of a file, the raw bytes of its name percent-escaped."""
    posix = _posix(path)
    if posix.startswith("//"):  # \\server\share\...: the server is the URI's host
        return "file:" + quote_from_bytes(os.fsencode(posix))
    if not posix.startswith("/"):  # C:/...
        return f"file:///{posix[:2]}" + quote_from_bytes(os.fsencode(posix[2:]))
    return "file://" + quote_from_bytes(os.fsencode(posix))


def is_part(uri: str) -> bool:
    """Return whether a URI names a picture inside another file (`mmsearch.sources`)."""
    # A path, where a URI is meant, may have such a "#" in its name.
    return uri.startswith("file:") and uri.partition("#")[2].startswith(_PARTS)


def path_of(uri: str, *, windows: bool = _WINDOWS) -> str:
    """Return the path that a `file:` URI names: the exact inverse of `uri_of`.

    An unescaped "#..." is a fragment (a row of a table) and is left off.

    Args:
        uri: "file:///...", on Windows also "file:///C:/..." and "file://server/share/...".
        windows: read it as Windows does.

    Raises:
        ValueError: it is no `file:` URI, holds a NUL, or names another computer's file where
            that isn't possible.
    """
    scheme, _, rest = uri.partition("#")[0].partition(":")
    if scheme.lower() != "file" or not rest.startswith("/"):
        raise ValueError(f"not a file: URI: {printable(uri)}")
    host = ""
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        rest = slash + tail
    raw = unquote_to_bytes(rest)
    if not raw or b"\0" in raw:
        raise ValueError(f"no file can have this URI: {printable(uri)}")
    path = os.fsdecode(raw)
    host = "" if host.lower() == "localhost" else host
    if not windows:
        if host:
            raise ValueError(f"a file on another computer ({host}) has no path here: {uri}")
        return path
    if host:
        return str(PureWindowsPath(f"//{host}{path}"))
    if re.match(r"/[A-Za-z][:|](/|$)", path):  # "/C:/x", and "/C|/x" of old writers
        path = f"{path[1]}:{path[3:]}"
    return str(PureWindowsPath(path))


def is_url(text: str) -> bool:
    """Return whether a text is meant as the address of a picture: http or https."""
    return text[:8].lower().startswith(("http://", "https://"))


def file_name(name: str, *, windows: bool = _WINDOWS) -> str:
    """Return a name that a new file can have, as near to `name` as possible.

    "/" and NUL become "_", and what is too long is cut before its suffix. For Windows so do the
    other characters that no name there can have (a colon would write into a hidden stream),
    trailing dots and spaces go, and devices (CON, LPT1) get a "_".
    """
    name = _FORBIDDEN.sub("_", name) if windows else re.sub(r"[/\x00]", "_", name)
    if windows:
        name = name.rstrip(". ")
        name = f"_{name}" if _DEVICES.match(name) else name
    name = "_" if name in {"", ".", ".."} else name
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - keeps ".name" whole
    suffix = suffix if len(os.fsencode(suffix)) < 20 else ""
    stem = name[: len(name) - len(suffix)]
    while len(os.fsencode(stem + suffix)) > _NAME_BYTES:
        stem = stem[:-1]
    return stem + suffix


def as_on_disk(path: str, listed: Callable[[str], list[str]] = os.listdir) -> str:
    """Return an absolute path with the names that its folders and file have on the disk.

    For systems where "photos" opens "Photos": one file is to have one key. What cannot be listed
    or is not there stays as it was given.

    Args:
        listed: gives the names in a folder.
    """
    pure = PureWindowsPath(path) if _WINDOWS else Path(path)
    done = pure.anchor
    for name in pure.parts[1:]:
        try:
            names = listed(done)
        except OSError:
            names = []
        if name not in names:
            wanted = _folded(name)
            name = next((n for n in names if _folded(n) == wanted), name)
        done = os.path.join(done, name)  # noqa: PTH118
    return done or path


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def stamp_of(stat: os.stat_result) -> str:
    """Return what differs when a file has been written to: its size and time."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def content_hash(path: str | PurePath) -> str:
    """Return the BLAKE2b-128 of a file's bytes in hexadecimal; the file is never held whole.

    Raises:
        OSError: it cannot be read.
    """
    state = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb", buffering=0) as file:
        while block := file.read(_HASH_BLOCK):
            state.update(block)
    return state.hexdigest()


def _posix(path: str | PurePath) -> str:
    if isinstance(path, PureWindowsPath) and not _WINDOWS:
        return _short(path.as_posix())  # not of this machine: taken as it stands
    # Not Path.resolve(): it asks the disk about every component, for every file of a listing.
    absolute = os.path.abspath(path).replace(os.sep, "/")  # noqa: PTH100
    if absolute.startswith("//") and not _WINDOWS:
        return absolute[1:]  # normpath keeps two leading slashes; to Linux they are one
    return _short(absolute) if _WINDOWS else absolute


def _short(path: str) -> str:
    """Return a Windows path without the mark of a long one, which opens the same file."""
    if path[:8].upper() == "//?/UNC/":
        return "//" + path[8:]
    return path[4:] if path.startswith("//?/") else path
