"""Where the daemon of a model listens: a socket file in a folder that is its user's alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import stat
from pathlib import Path

HAS_UNIX = hasattr(socket, "AF_UNIX")
_LONGEST = 100  # bytes in the path of a Unix socket; the kernel takes 104 to 108


class UnsafePlace(OSError):
    """The folder for the socket belongs to another user, or others can open it."""


def runtime_folder() -> Path:
    """Return the folder for sockets, made if need be: mode 0700, of this user.

    Raises:
        UnsafePlace: what is there is not that.
        OSError: it cannot be made.
    """
    folder = _place()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafePlace(f"{folder} is no folder")
    if HAS_UNIX and (found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077):
        raise UnsafePlace(f"{folder} is not this user's alone (chmod 700 it, or remove it)")
    return folder


def _place() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given and Path(given).is_dir():
        return Path(given) / "mmsearch"
    from platformdirs import user_cache_path

    folder = user_cache_path("mmsearch", appauthor=False) / "daemon"
    if HAS_UNIX and len(os.fsencode(folder)) > _LONGEST - 25:
        import tempfile

        return Path(tempfile.gettempdir()) / f"mmsearch-{os.getuid()}"
    return folder


class Endpoint:
    """The address of one model's daemon.

    Args:
        spec: of the model, resolved.
        folder: from `runtime_folder`.
        unix: a Unix socket; else a port of the loopback device, and a file of mode 0600 with
            the port and a token that every client must show (Windows).
    """

    def __init__(self, spec: str, folder: Path, *, unix: bool = HAS_UNIX) -> None:
        name = hashlib.blake2b(spec.encode(), digest_size=8).hexdigest()
        self.file = folder / (f"{name}.sock" if unix else f"{name}.port")
        self.lock = folder / f"{name}.lock"
        self.log = folder / f"{name}.log"
        self._unix = unix

    def connect(self, timeout_s: float) -> tuple[socket.socket, str]:
        """Return a connection, and the token to show.

        Raises:
            OSError: nothing listens there.
        """
        token = ""
        if self._unix:
            sock = socket.socket(socket.AF_UNIX)
            place: str | tuple[str, int] = os.fspath(self.file)
        else:
            try:
                said = json.loads(self.file.read_text(encoding="ascii"))
                token, place = str(said["token"]), ("127.0.0.1", int(said["port"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ConnectionRefusedError(f"{self.file} is damaged") from error
            sock = socket.socket(socket.AF_INET)
        sock.settimeout(timeout_s)
        try:
            sock.connect(place)
        except OSError:
            sock.close()
            raise
        return sock, token

    def listen(self) -> tuple[socket.socket, str]:
        """Return a socket that listens, and the token that clients must show.

        What a dead daemon has left there is replaced: hold `lock` while you call this.

        Raises:
            OSError: the folder cannot be written.
        """
        self.remove()
        if self._unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(os.fspath(self.file))
            sock.listen()
            return sock, ""
        sock = socket.socket(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        import secrets

        token = secrets.token_hex(32)
        handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            json.dump({"port": sock.getsockname()[1], "token": token}, file)
        return sock, token

    def remove(self) -> None:
        """Remove the socket file; none is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()
