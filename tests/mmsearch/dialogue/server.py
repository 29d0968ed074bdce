"""A little chat completions server on loopback that says what its script says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Script:
    """url: for --endpoint. replies: bodies to send, one a request; a number is a status, an
    exception class closes the connection. requests: (headers, body) that came."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Any] = []
        self.requests: list[tuple[dict[str, str], Any]] = []


def says(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def calls(*made: tuple[str, Any]) -> dict[str, Any]:
    """Return a completion that calls tools; arguments that are no text become JSON."""
    found = [
        {"id": f"c{n}", "type": "function", "function": {
            "name": name, "arguments": given if isinstance(given, str) else json.dumps(given)}}
        for n, (name, given) in enumerate(made)
    ]  # fmt: skip
    return {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": found}}]}


@contextmanager
def serving() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            script.requests.append((dict(self.headers), json.loads(body)))
            reply = script.replies.pop(0)
            status, data = (reply, b"no") if isinstance(reply, int) else (200, reply)
            if not isinstance(data, bytes):
                data = json.dumps(data).encode()
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", script.url + "/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
