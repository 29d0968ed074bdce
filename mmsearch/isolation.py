"""Files that could crash or starve this process are decoded in another one."""

from __future__ import annotations

import atexit
import contextlib
import json
import subprocess
import sys
import threading
from importlib.util import find_spec

from mmsearch.errors import BadPicture, MissingExtra

SECONDS = 60.0  # then a decoder is stopped
_ANSWER_BYTES = 256 << 20

# By the word before the underscore: the module that does it, its extra, and what needs it.
_NEEDS = {
    "pdf": ("pypdfium2", "pdf", "reading PDF"),
    "video": ("av", "video", "reading films"),
    "raw": ("rawpy", "raw", "reading camera raw files"),
}

_idle: list[_Decoder] = []
_lock = threading.Lock()


def check_installed(sort: str) -> None:
    """Complain if the library for "pdf", "video" or "raw" is not there.

    Raises:
        MissingExtra: it isn't.
    """
    if sort in _NEEDS and not is_installed(sort):
        _, extra, what = _NEEDS[sort]
        raise MissingExtra(what, extra)


def is_installed(sort: str) -> bool:
    return sort not in _NEEDS or find_spec(_NEEDS[sort][0]) is not None


def times_in(sort: str, path: str) -> list[float]:
    """Return the pages of a "pdf", or the times of a "video" or "animation", to be read.

    Raises:
        BadPicture: it cannot be read; the message is the reason.
        MissingExtra: the library for it is not installed.
    """
    found: list[float] = json.loads(_asked(f"{sort}_{'pages' if sort == 'pdf' else 'times'}", path))
    return found


def frame_at(sort: str, path: str, at: float) -> bytes:
    """Return one page or frame, or the preview of a "raw" file, as a picture file. Thread-safe.

    Raises: as `times_in`.
    """
    names = {"pdf": "pdf_page", "raw": "raw_preview"}
    return _asked(names.get(sort, f"{sort}_frame"), path, at)


def _asked(what: str, path: str, *at: float) -> bytes:
    check_installed(what.partition("_")[0])
    with _lock:
        decoder = _idle.pop() if _idle else None
    decoder = decoder or _Decoder()
    answer = decoder.ask({"what": what, "path": path, "at": at})
    with _lock:
        _idle.append(decoder)
    if isinstance(answer, str):
        raise BadPicture(answer)
    return answer


class _Decoder:
    """One process of `mmsearch.frames`; started anew when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, object]) -> bytes | str:
        """Return the answer's bytes, or the reason why there are none."""
        # Twice: the process may have died before, while it had nothing to do.
        for _ in range(2):
            late = threading.Event()
            process = self._started()
            timer = threading.Timer(SECONDS, self._stop, [late])
            timer.start()
            try:
                return self._exchange(process, request)
            except (OSError, ValueError):
                self.close()
            finally:
                timer.cancel()
            if late.is_set():
                return f"it took more than {SECONDS:g} seconds"
        return "its decoder crashed: it is damaged, or needs too much memory"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mmsearch.frames"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        return self._process

    def close(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):  # what was not sent yet
                    pipe.close()
        self._process = None

    def _stop(self, late: threading.Event) -> None:
        late.set()
        if self._process is not None:
            self._process.kill()

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], request: dict[str, object]) -> bytes | str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        head = json.loads(process.stdout.readline() or b"x")
        if "error" in head:
            return str(head["error"])
        size = int(head["bytes"])
        data = process.stdout.read(size) if size <= _ANSWER_BYTES else b""
        if len(data) < size:
            raise ValueError("the answer was cut short")
        return data


def _close_all() -> None:
    for decoder in _idle:
        decoder.close()


atexit.register(_close_all)
