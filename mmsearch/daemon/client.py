"""The daemon's encoder as seen from a command, and the way back to one of its own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from index_store.types import Space, Vectors
from mmsearch.daemon.endpoint import Endpoint, runtime_folder
from mmsearch.daemon.wire import BrokenMessage, Message, receive, send
from mmsearch.types import Array, Encoder
from mmsearch.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

CONNECT_S = 1.0
ANSWER_S = 20.0  # a picture's first query loads the image tower


class Connection:
    """An open connection to a daemon. `said` is what it has told of itself.

    Raises:
        OSError: nothing listens, or it is no daemon of ours.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.file = endpoint.file
        self._sock, token = endpoint.connect(CONNECT_S)
        self._turn = threading.Lock()
        try:
            send(self._sock, {"token": token})
            self.said, _ = receive(self._sock)
        except OSError:
            self._sock.close()
            raise
        self._sock.settimeout(ANSWER_S)

    def ask(self, message: Message, array: Array | None = None) -> Array:
        """Return the answer. Thread-safe.

        Raises:
            OSError: there is none; the connection is of no more use.
        """
        with self._turn:
            send(self._sock, message, array)
            said, found = receive(self._sock)
        if found is None:
            raise BrokenMessage(str(said.get("error", "an answer without an array")))
        return found

    def stop(self) -> None:
        """Ask the daemon to leave; one that is leaving already is no error."""
        with self._turn, suppress(OSError):
            send(self._sock, {"op": "stop"})
            receive(self._sock)

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


class WarmEncoder:
    """The daemon's encoder; from the first trouble with it on, one that `load` gives.

    Thread-safe. The vectors are those that the encoder would give in this process.
    """

    def __init__(self, connection: Connection, space: Space, load: Callable[[], Encoder]) -> None:
        self._connection = connection
        self._load = load
        self._own: Encoder | None = None
        self._lock = threading.Lock()
        self.space = space
        self.image_size = int(connection.said["image_size"])

    @property
    def failed(self) -> bool:
        """Whether the daemon was lost on the way."""
        return self._own is not None

    def prepare(self, image: Image) -> Array:
        """Return the picture as the array that the model eats."""
        if self._own is None:
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            found = self._asked({"op": "prepare"}, np.asarray(rgb))
            if found is not None:
                return found
        return self._local().prepare(image)

    def encode_images(self, batch: Array) -> Vectors:
        """Return (n, dim) float32 unit rows for a stack of n prepared pictures."""
        found = self._asked({"op": "images"}, batch)
        return self._local().encode_images(batch) if found is None else found

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 unit rows for n texts; overlong texts are cut."""
        found = self._asked({"op": "texts", "texts": list(texts)})
        return self._local().encode_texts(texts) if found is None else found

    def close(self) -> None:
        """Hang up; the encoder goes on as one of this process."""
        self._connection.close()

    def _asked(self, message: Message, array: Array | None = None) -> Array | None:
        if self._own is not None:
            return None
        try:
            return self._connection.ask(message, array)
        except OSError:
            return None

    def _local(self) -> Encoder:
        with self._lock:
            if self._own is None:
                self._own = self._load()
            return self._own


def connected(spec: str, space: Space, load: Callable[[], Encoder]) -> WarmEncoder | None:
    """Return the encoder of the daemon that has this model; None if there is none that fits.

    A daemon of another version, or whose model has changed on the disk, is sent away.

    Args:
        spec: of the model, resolved.
        space: of the collection that is to be searched.
        load: gives the encoder of this process, if the daemon fails.
    """
    try:
        connection = Connection(Endpoint(spec, runtime_folder()))
    except OSError:
        return None
    said = connection.said
    current = said.get("version") == __version__ and said.get("spec") == spec
    if current and said.get("fresh") and said.get("space") == asdict(space):
        return WarmEncoder(connection, space, load)
    connection.stop()
    connection.close()
    return None


@contextmanager
def warm_encoder(spec: str, space: Space, load: Callable[[], Encoder]) -> Iterator[Encoder]:
    """Yield the daemon's encoder, or `load()`; then a daemon is started for the next time.

    It starts when the answer is out, so that the two do not compete for the processor.
    """
    warm = connected(spec, space, load)
    if warm is None:
        yield load()
    else:
        try:
            yield warm
        finally:
            warm.close()
    if warm is None or warm.failed:
        with suppress(OSError):
            start(spec)


def start(spec: str) -> None:
    """Start a daemon for a model, and do not wait for it.

    Raises:
        OSError: no process, or no safe folder for its socket.
    """
    import subprocess

    folder = runtime_folder()
    command = [sys.executable, "-m", "mmsearch", "daemon", "run", spec]
    with Endpoint(spec, folder).log.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    process.returncode = 0  # it is meant to outlive this process: no warning that it does


def running() -> list[Connection]:
    """Return a connection to each daemon of this user.

    Raises:
        OSError: the folder of the sockets is not safe.
    """
    found = []
    for file in sorted(runtime_folder().iterdir()):
        if file.suffix in (".sock", ".port"):
            with suppress(OSError):
                found.append(Connection(_at(file)))
    return found


def _at(file: Path) -> Endpoint:
    endpoint = Endpoint("", file.parent, unix=file.suffix == ".sock")
    endpoint.file = file
    return endpoint


__all__ = ["Connection", "WarmEncoder", "connected", "running", "start", "warm_encoder"]
