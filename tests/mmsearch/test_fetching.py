"""Pictures from the web: what is fetched, and what is refused, by a real server on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmsearch import fetching
from mmsearch.errors import BadQuery
from mmsearch.fetching import fetch
from mmsearch.uris import is_url


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/short":
            self.send_header("Content-Length", "100")
        self.end_headers()
        if self.path == "/endless":
            self._send_for_ever(b"x" * 65536, 0)
        elif self.path == "/drip":
            self._send_for_ever(b"x", 0.05)
        else:
            self.wfile.write(f"{self.path}".encode())

    def _send_for_ever(self, block: bytes, pause: float) -> None:
        try:
            while True:
                self.wfile.write(block)
                time.sleep(pause)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_picture_is_fetched_and_redirects_are_followed(server: str) -> None:
    assert fetch(f"{server}/a?b=c", allow_loopback=True) == b"/a?b=c"
    assert fetch(f"{server}/to//to//end", allow_loopback=True) == b"/end"
    assert fetch(f"{server}/é?a=%20", allow_loopback=True) == b"/%C3%A9?a=%20"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "the server says 404"),
        ("/short", "cannot be fetched"),
        ("/to/file:///etc/passwd", "only http and https"),
        ("/to/http://10.0.0.1/", "10.0.0.1 is not a public address"),
        ("/to/http://169.254.169.254/latest/meta-data", "169.254.169.254 is not a public"),
    ],
)
def test_what_is_not_a_public_file_is_refused_also_after_a_redirect(
    server: str, path: str, reason: str
) -> None:
    with pytest.raises(BadQuery, match=reason):
        fetch(f"{server}{path}", allow_loopback=True)


def test_redirects_in_a_circle_end(server: str) -> None:
    with pytest.raises(BadQuery, match="redirects"):
        fetch(f"{server}/to/" + "/to/" * 20 + "x", allow_loopback=True)


def test_too_much_and_too_slow_are_cut(server: str) -> None:
    with pytest.raises(BadQuery, match="larger than 1 MB"):
        fetch(f"{server}/endless", max_bytes=1 << 20, allow_loopback=True)
    began = time.monotonic()
    with pytest.raises(BadQuery, match="too long"):
        fetch(f"{server}/drip", seconds=0.5, allow_loopback=True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://127.1/", "http://2130706433/",
        "http://0x7f000001/", "http://0.0.0.0/", "http://10.1.2.3/", "http://192.168.0.1/",
        "http://172.16.0.1/", "http://169.254.169.254/", "http://100.64.0.1/", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:10.0.0.1]/", "http://[fd00::1]/",
        "http://[fe80::1]/", "http://[64:ff9b::a00:1]/", "http://[2002:a00:1::]/",
        "http://224.0.0.1/", "http://255.255.255.255/",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused_however_they_are_written(url: str) -> None:
    with pytest.raises(BadQuery, match="not a public address"):
        fetch(url)


def test_a_name_that_also_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", (ip, 80)) for ip in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(BadQuery, match=r"10\.0\.0\.1 is not a public address"):
        fetch("http://example.com/")


def test_the_checked_address_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def resolve(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        return [(2, 1, 6, "", ("93.184.216.34", 80))]

    def connect(address: object, timeout: float) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(fetching.socket, "create_connection", connect)
    with pytest.raises(BadQuery, match="refused"):
        fetch("http://example.com/x")
    assert asked == ["example.com", ("93.184.216.34", 80)]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a/b", "http://", "http://u:p@a/", "http://a:99999/",
            "http://a/b c", "http://a/\r\nX: y"],
)  # fmt: skip
def test_no_other_address_is_tried(url: str) -> None:
    with pytest.raises(BadQuery):
        fetch(url)


def test_a_url_is_told_from_words() -> None:
    assert is_url("https://a/b.jpg")
    assert is_url("HTTP://a")
    assert not is_url("http is a protocol")
    assert not is_url("file:///a")
