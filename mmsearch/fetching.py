"""A picture from the web, for a query; nothing inside the user's own network is ever asked.

The address that is checked is the address that is connected to, so a name that resolves anew to
another one in between (DNS rebinding) gains nothing. Each redirect is checked in the same way.
Proxies of the environment are not used: they would resolve names themselves.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from mmsearch.errors import BadQuery
from mmsearch.uris import printable
from mmsearch.version import __version__

MAX_BYTES = 50 << 20
SECONDS = 20.0  # for all of it, redirects too
REDIRECTS = 5
_BLOCK = 1 << 16
_MOVED = (301, 302, 303, 307, 308)


def fetch(
    url: str, *, max_bytes: int = MAX_BYTES, seconds: float = SECONDS,
    allow_loopback: bool = False,
) -> bytes:  # fmt: skip
    """Return the bytes at an address.

    Args:
        max_bytes, seconds: more is refused; of seconds in all.
        allow_loopback: for tests: this machine's own addresses are allowed.

    Raises:
        BadQuery: not http or https, a private address, too large, too slow, or not there.
    """
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        moved, data = _get(url, max_bytes, deadline, allow_loopback)
        if not moved:
            return data
        url = urljoin(url, moved)
    raise BadQuery(f"{printable(url)}: more than {REDIRECTS} redirects")


def _get(url: str, max_bytes: int, deadline: float, allow_loopback: bool) -> tuple[str, bytes]:
    """Return where it has moved to, or "" and its bytes."""
    parts = _split(url)
    timer: threading.Timer | None = None
    connection: http.client.HTTPConnection | None = None
    try:
        connection = _connected(parts, deadline, allow_loopback)
        # A server that sends a byte now and then never runs into a socket's timeout.
        timer = threading.Timer(max(deadline - time.monotonic(), 0), _cut, [connection.sock])
        timer.daemon = True
        timer.start()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = quote(target, safe="/%?=&:@!$'()*+,;~[]")  # a browser shows é for %C3%A9
        headers = {"User-Agent": f"mmsearch/{__version__}", "Accept-Encoding": "identity"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        location = response.getheader("Location")
        if response.status in _MOVED and location:
            return location, b""
        if response.status != 200:
            raise BadQuery(f"{printable(url)}: the server says {response.status}")
        data = _read(response, url, max_bytes)
        if time.monotonic() >= deadline:  # then the end may be our own cut
            raise TimeoutError
        return "", data
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = time.monotonic() >= deadline or isinstance(error, TimeoutError)
        reason = "it takes too long" if late else f"cannot be fetched ({_reason(error)})"
        raise BadQuery(f"{printable(url)}: {reason}") from error
    finally:
        if timer is not None:
            timer.cancel()
        if connection is not None:
            connection.close()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadQuery(f"{printable(url)} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadQuery(f"{printable(url)}: only http and https addresses are fetched")
    if parts.username is not None or port == 0 or any(c <= " " or c == "\x7f" for c in url):
        raise BadQuery(f"{printable(url)} is refused: no names, passwords or blanks in an address")
    return parts


def _connected(
    parts: SplitResult, deadline: float, allow_loopback: bool
) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    for address in addresses:  # all of them: one bad address marks a name as a trick
        if not _allowed(address, allow_loopback):
            raise BadQuery(f"{printable(parts.geturl())}: {address} is not a public address")
    timeout = max(deadline - time.monotonic(), 0.01)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    connection.sock = socket.create_connection((addresses[0], port), timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
    return connection


def _allowed(address: str, allow_loopback: bool) -> bool:
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(
        address.partition("%")[0]
    )
    if isinstance(ip, ipaddress.IPv6Address):
        # Addresses that carry an IPv4 address, which is where they lead.
        teredo = ip.teredo[1] if ip.teredo else None
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or teredo or nat64 or ip
    if ip.is_loopback:
        return allow_loopback
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _read(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    blocks, size = [], 0
    while block := response.read(_BLOCK):
        size += len(block)
        if size > max_bytes:
            raise BadQuery(f"{printable(url)}: larger than {max_bytes >> 20} MB")
        blocks.append(block)
    claimed = response.getheader("Content-Length")
    if claimed is not None and claimed.isdigit() and size < int(claimed):
        raise OSError("it breaks off")
    return b"".join(blocks)


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):  # closed already
        sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(str(error))[:100] or type(error).__name__
