"""The daemon: loads one encoder, answers on its socket, and leaves when nobody asks any more."""

from __future__ import annotations

import hmac
import os
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mmsearch.daemon.endpoint import Endpoint
from mmsearch.daemon.wire import Message, receive, send
from mmsearch.encoders import load_encoder
from mmsearch.errors import MmsearchError
from mmsearch.types import Array, Encoder
from mmsearch.version import __version__

TICK_S = 0.5


class AlreadyRunning(Exception):
    """Another daemon has this model."""


def serve(spec: str, endpoint: Endpoint, *, idle_s: float, threads: int = 1) -> None:
    """Answer until nothing was asked for `idle_s` seconds, or a client says stop.

    The lock is held throughout: of two daemons that start at once, one stays.

    Args:
        threads: for the model. One query gains nothing from a second thread (measured: 11 ms with
            one and with two), and on a busy machine it waits for both.

    Raises:
        AlreadyRunning: by the lock.
        MmsearchError: the model cannot be loaded.
        OSError: the socket cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(endpoint.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise AlreadyRunning(spec) from error
    try:
        server = _Server(spec, load_encoder(spec, threads=threads), idle_s)
        server.run(endpoint)
    finally:
        lock.release()


class _Server:
    def __init__(self, spec: str, encoder: Encoder, idle_s: float) -> None:
        self._spec, self._encoder, self._idle_s = spec, encoder, idle_s
        self._files = stamp(spec)
        encoder.encode_texts(["a"])  # the first call loads; nobody should wait for it
        self._began = self._used = time.monotonic()
        self._answered = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, endpoint: Endpoint) -> None:
        """Accept until it is time to go. The socket is there only once the model is loaded."""
        sock, token = endpoint.listen()
        try:
            sock.settimeout(TICK_S)
            while not self._stop.is_set() and not self._idle():
                try:
                    client, _ = sock.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=self._talk, args=(client, token), daemon=True).start()
        finally:
            endpoint.remove()
            sock.close()

    def _idle(self) -> bool:
        with self._lock:
            return not self._busy and time.monotonic() - self._used > self._idle_s

    def _talk(self, client: socket.socket, token: str) -> None:
        """Answer one client until it hangs up."""
        with client:
            client.settimeout(max(self._idle_s, 1.0))
            try:
                hello, _ = receive(client)
                if not hmac.compare_digest(str(hello.get("token")), token):
                    return
                send(client, self._hello())
                while True:
                    asked = receive(client)
                    if self._stop.is_set():
                        return
                    self._answer(client, *asked)
            except OSError:  # gone, silent for too long, or not one of ours
                return

    def _answer(self, client: socket.socket, asked: Message, array: Array | None) -> None:
        with self._lock:
            self._busy += 1
        try:
            if asked.get("op") == "stop":
                self._stop.set()
                return send(client, {"stopping": os.getpid()})
            try:
                found = self._encoded(asked, array)
            except (MmsearchError, ValueError, TypeError, RuntimeError, MemoryError) as error:
                return send(client, {"error": f"{type(error).__name__}: {error}"})
            send(client, {}, found)
        finally:
            with self._lock:
                self._busy -= 1
                self._answered += 1
                self._used = time.monotonic()

    def _encoded(self, asked: Message, array: Array | None) -> Array:
        match asked.get("op"):
            case "texts":
                return self._encoder.encode_texts([str(text) for text in asked["texts"]])
            case "images" if array is not None:
                return self._encoder.encode_images(array)
            case "prepare" if array is not None and array.dtype == np.uint8:
                from PIL import Image

                return self._encoder.prepare(Image.fromarray(array, "RGB"))
        raise ValueError(f"cannot {asked.get('op')!r}")

    def _hello(self) -> Message:
        return {
            "version": __version__,
            "spec": self._spec,
            "space": asdict(self._encoder.space),
            "image_size": self._encoder.image_size,
            "fresh": stamp(self._spec) == self._files,
            "pid": os.getpid(),
            "up_s": round(time.monotonic() - self._began, 1),
            "idle_s": round(time.monotonic() - self._used, 1),
            "answered": self._answered,
        }


def stamp(spec: str) -> str:
    """Return what differs once the files of a model in a local folder have been written anew."""
    place = Path(spec.partition(":")[2])
    if not place.is_absolute() or not place.exists():
        return ""
    files = sorted(p for p in (place.rglob("*") if place.is_dir() else [place]) if p.is_file())
    stats = [(os.fspath(path), path.stat()) for path in files]
    return repr([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats])
