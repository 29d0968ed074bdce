"""The daemon: the same answers, one of it, and nothing lost without it. The model is `color`."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from mmsearch.daemon import client, server, wire
from mmsearch.daemon.client import Connection, WarmEncoder, connected, running, warm_encoder
from mmsearch.daemon.endpoint import Endpoint, UnsafePlace, runtime_folder
from mmsearch.daemon.server import AlreadyRunning, serve, stamp
from mmsearch.daemon.wire import BrokenMessage
from mmsearch.encoders import load_encoder
from mmsearch.types import Encoder

Daemon = Callable[..., threading.Thread]
SPACE = load_encoder("color").space


def until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return runtime_folder()


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    """Run a daemon in a thread of this process; wait until it listens."""
    threads = []

    def run(spec: str = "color", *, idle_s: float = 60, unix: bool = True) -> threading.Thread:
        endpoint = Endpoint(spec, folder, unix=unix)
        thread = threading.Thread(target=serve, args=(spec, endpoint), kwargs={"idle_s": idle_s})
        thread.start()
        threads.append(thread)
        until(endpoint.file.exists)
        return thread

    yield run
    stop_all()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def stop_all() -> None:
    for connection in running():
        connection.stop()
        connection.close()


def refuse() -> Encoder:
    raise AssertionError("the daemon should have answered")


@pytest.mark.parametrize("unix", [True, False], ids=["unix", "loopback"])
def test_it_gives_the_vectors_that_the_encoder_gives(
    daemon: Daemon, folder: Path, unix: bool, photos: Path
) -> None:
    from mmsearch.images import open_picture

    daemon(unix=unix)
    own = load_encoder("color")
    warm = WarmEncoder(Connection(Endpoint("color", folder, unix=unix)), SPACE, refuse)
    assert np.array_equal(
        warm.encode_texts(["red", "blue sky"]), own.encode_texts(["red", "blue sky"])
    )
    image = open_picture(next(photos.glob("*.png")), target=own.image_size).image
    prepared = warm.prepare(image)
    assert np.array_equal(prepared, own.prepare(image))
    assert np.array_equal(warm.encode_images(prepared[None]), own.encode_images(prepared[None]))
    warm.close()


def test_one_that_dies_in_between_costs_no_answer(daemon: Daemon) -> None:
    thread = daemon()
    warm = connected("color", SPACE, lambda: load_encoder("color"))
    assert warm is not None
    warm.encode_texts(["red"])
    assert not warm.failed
    stop_all()
    thread.join(20)
    expected = load_encoder("color").encode_texts(["blue"])
    assert np.array_equal(warm.encode_texts(["blue"]), expected)
    assert warm.failed
    warm.close()


def test_what_it_cannot_do_is_an_error_of_the_connection(daemon: Daemon, folder: Path) -> None:
    daemon()
    connection = Connection(Endpoint("color", folder))
    with pytest.raises(BrokenMessage, match="cannot 'fly'"):
        connection.ask({"op": "fly"})
    connection.close()


def test_without_a_daemon_the_encoder_is_loaded_and_one_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(client, "start", started.append)
    with warm_encoder("color", SPACE, lambda: load_encoder("color")) as encoder:
        assert started == []  # the answer first
        assert encoder.encode_texts(["red"]).shape == (1, SPACE.dim)
    assert started == ["color"]


def test_one_of_another_version_is_sent_away(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = daemon()
    monkeypatch.setattr(client, "__version__", "0.0.1")
    assert connected("color", SPACE, refuse) is None
    thread.join(20)
    assert not thread.is_alive()


def test_one_whose_model_has_changed_on_the_disk_is_sent_away(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = daemon()
    monkeypatch.setattr(server, "stamp", lambda spec: "later")
    assert connected("color", SPACE, refuse) is None
    thread.join(20)
    assert not thread.is_alive()


def test_one_of_another_space_is_sent_away(daemon: Daemon) -> None:
    from dataclasses import replace

    thread = daemon()
    assert connected("color", replace(SPACE, name="color/other"), refuse) is None
    thread.join(20)
    assert not thread.is_alive()


def test_the_files_of_a_model_are_told_apart_by_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "visual").mkdir()
    weights = tmp_path / "visual" / "model.onnx"
    weights.write_bytes(b"one")
    before = stamp(f"onnx:{tmp_path}")
    assert stamp(f"onnx:{tmp_path}") == before != ""
    weights.write_bytes(b"other")
    assert stamp(f"onnx:{tmp_path}") != before
    assert stamp("starter") == ""


def test_of_two_that_start_at_once_one_stays(daemon: Daemon, folder: Path) -> None:
    daemon()
    with pytest.raises(AlreadyRunning):
        serve("color", Endpoint("color", folder), idle_s=60)
    assert len(running_pids()) == 1  # and the first still answers


def running_pids() -> list[int]:
    found = running()
    pids = [connection.said["pid"] for connection in found]
    for connection in found:
        connection.close()
    return pids


def test_it_leaves_when_nobody_asks(daemon: Daemon, folder: Path) -> None:
    thread = daemon(idle_s=0.2)
    thread.join(20)
    assert not thread.is_alive()
    assert list(folder.glob("*.sock")) == []


def test_what_a_killed_one_left_is_replaced(daemon: Daemon, folder: Path) -> None:
    endpoint = Endpoint("color", folder)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(endpoint.file))
    stale.close()  # the file stays, nobody listens
    assert connected("color", SPACE, refuse) is None
    thread = threading.Thread(target=serve, args=("color", endpoint), kwargs={"idle_s": 60})
    thread.start()
    until(lambda: bool(running_pids()))
    stop_all()
    thread.join(20)


def test_the_folder_is_this_users_alone(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(UnsafePlace, match="alone"):
        runtime_folder()
    assert connected("color", SPACE, refuse) is None
    folder.chmod(0o700)


def test_a_link_to_another_folder_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    (tmp_path / "mmsearch").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(UnsafePlace):
        runtime_folder()


def test_without_the_token_a_port_says_nothing(daemon: Daemon, folder: Path) -> None:
    daemon(unix=False)
    endpoint = Endpoint("color", folder, unix=False)
    assert endpoint.file.stat().st_mode & 0o777 == 0o600
    port = json.loads(endpoint.file.read_text())["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
        wire.send(stranger, {"token": "guess"})
        with pytest.raises(ConnectionError):
            wire.receive(stranger)


def frame(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!IQ", len(text), len(body)) + text + body


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 12,  # sizes that no message has
        frame(b"[]"),
        frame(b"{\xff}"),
        frame(b'{"dtype": "object", "shape": [1]}', b"x" * 8),
        frame(b'{"dtype": "uint8", "shape": [2]}', b"x"),
        frame(b'{"dtype": "uint8"}', b"x"),
        b"\0\0\0\x05",  # hangs up in between
    ],
)
def test_a_broken_message_harms_nobody(daemon: Daemon, folder: Path, sent: bytes) -> None:
    daemon()
    with Endpoint("color", folder).connect(5)[0] as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert len(running_pids()) == 1
