"""Messages on the socket: a JSON object and, where there is one, an array. Nothing is unpickled."""

from __future__ import annotations

import json
import math
import socket
import struct
from typing import Any

import numpy as np

from mmsearch.types import Array

_HEAD = struct.Struct("!IQ")  # bytes of JSON, bytes of the array
MAX_JSON = 16 << 20
MAX_ARRAY = 1 << 30
_TYPES = ("float32", "float16", "float64", "uint8", "int64")

Message = dict[str, Any]


class BrokenMessage(ConnectionError):
    """What came is no message of ours; the connection is of no more use."""


def send(sock: socket.socket, message: Message, array: Array | None = None) -> None:
    """Send one message.

    Raises:
        OSError: the other end is gone, or too slow for the socket's timeout.
    """
    body = b""
    if array is not None:
        message = message | {"dtype": array.dtype.name, "shape": array.shape}
        body = np.ascontiguousarray(array).tobytes()
    text = json.dumps(message).encode()
    sock.sendall(_HEAD.pack(len(text), len(body)) + text + body)


def receive(sock: socket.socket) -> tuple[Message, Array | None]:
    """Return the next message and its array, or None.

    Raises:
        BrokenMessage: it is damaged, or larger than any of ours.
        OSError: the other end is gone, or too slow for the socket's timeout.
    """
    size, body = _HEAD.unpack(_exactly(sock, _HEAD.size))
    if size > MAX_JSON or body > MAX_ARRAY:
        raise BrokenMessage("a message larger than any of ours")
    try:
        message = json.loads(_exactly(sock, size))
        if not isinstance(message, dict):
            raise ValueError("no object")
        return message, _array(message, _exactly(sock, body)) if "dtype" in message else None
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenMessage(f"a damaged message: {error}") from error


def _array(message: Message, body: bytes) -> Array:
    shape = tuple(int(n) for n in message["shape"])
    if message["dtype"] not in _TYPES or min(shape, default=0) < 0:
        raise ValueError("an array of another kind")
    dtype = np.dtype(message["dtype"])
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError("an array of another size")
    array: Array = np.frombuffer(body, dtype).reshape(shape)
    return array


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            raise ConnectionResetError("the other end has closed the connection")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
