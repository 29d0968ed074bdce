"""Processes whose file operations are recorded, failed or the last: `shim.c`, preloaded.

One process imports everything and forks a child for each case: 20 ms instead of 1 s.

    with Zygote(folder) as zygote:
        answer = zygote.run({"store": ..., "seed": 3, "steps": 40, "kill": [17, "before"]})
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Self

SOURCE = Path(__file__).with_name("shim.c")
WHEN = {"before": 0, "midway": 1, "after": 2}
MASKS = {"write": 1, "sync": 2, "name": 4, "any": 7}
SKIPS = {"vectors": 1, "folders": 2, "indexes": 4}


def why_not() -> str:
    """Return why there can be no shim here; "" if there can."""
    if sys.platform != "linux":
        return "LD_PRELOAD as used here is Linux"
    return "" if shutil.which("cc") else "there is no C compiler"


def build(folder: Path) -> Path:
    """Compile the shim into the folder and return the library."""
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", SOURCE, "-o", library]
    subprocess.run(command, check=True)
    return library


class Zygote:
    """The process that forks. A context manager."""

    def __init__(self, folder: Path) -> None:
        env = os.environ | {
            "LD_PRELOAD": str(build(folder)),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.shim"], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """Return {"acknowledged": n, "killed": bool, "said": text} for one case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _serve() -> None:
    import faiss  # noqa: F401
    import sqlalchemy  # noqa: F401

    from index_store import writer  # noqa: F401
    from tests.crash import life, workload  # noqa: F401

    for line in sys.stdin:
        case = json.loads(line)
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            try:
                workload.run(case, ctypes.CDLL(None), write_end)
            except BaseException:  # noqa: BLE001
                os.write(write_end, f"said {traceback.format_exc()!r}\n".encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as answers:
            lines = answers.read().splitlines()
        _, status = os.waitpid(pid, 0)
        numbers = [int(x.split()[1]) for x in lines if x.startswith("done ")]
        said = [x.partition(" ")[2] for x in lines if x.startswith("said ")]
        answer = {
            "acknowledged": max(numbers, default=0),
            "killed": os.WIFSIGNALED(status),
            "said": "; ".join(said),
        }
        print(json.dumps(answer), flush=True)


def arm(library: ctypes.CDLL, case: dict[str, Any]) -> None:
    """Do to this process what the case says."""
    library.shim_watch(os.fsencode(case["watch"]))
    if "record" in case:
        library.shim_record(os.fsencode(case["record"]))
    if "skip" in case:
        library.shim_skip(SKIPS[case["skip"]])
    if "kill" in case:
        nth, when = case["kill"]
        library.shim_kill(ctypes.c_long(nth), WHEN[when])
    if "kill_after" in case:
        library.shim_kill_after(ctypes.c_long(int(case["kill_after"] * 1e6)))
    if "fail" in case:
        nth, mask, code, sticky = case["fail"]
        library.shim_fail(ctypes.c_long(nth), MASKS[mask], getattr(errno, code), int(sticky))
    if "quota" in case:
        library.shim_quota(ctypes.c_long(case["quota"]))


if __name__ == "__main__":
    _serve()
