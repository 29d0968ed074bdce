"""Picture tokens on the disk: whole or not at all, within the limit, whoever else writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmsearch.rerankers import token_cache
from mmsearch.rerankers.token_cache import STAMP_BYTES, TokenCache, held

STAMP = b"s" * STAMP_BYTES
MB = 1_000_000


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder of this test."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *a, **k: tmp_path / "cache")
    return tmp_path / "cache"


def content(n: int) -> str:
    return f"{n:032x}"


def tokens(n: int, size: int = 1000) -> dict[str, np.ndarray]:
    return {"a": np.full((size // 8, 2), n, np.float32), "b": np.arange(3, dtype=np.int16)}


def kept(cache: TokenCache, numbers: range) -> list[int]:
    return [n for n in numbers if cache.read("m", content(n))]


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


def test_what_was_kept_comes_back_as_it_was_for_that_picture_and_model_alone() -> None:
    given = {"half": np.array([[1.5, -2]], np.float16), "one": np.float32(3).reshape(()),
             "none": np.zeros((0, 4), np.int64)}  # fmt: skip
    TokenCache(MB).write("m", content(1), STAMP, given)
    entry = TokenCache(MB).read("m", content(1))
    assert entry is not None
    assert entry.stamp == STAMP
    for name, array in given.items():
        assert entry.tokens[name].dtype == array.dtype
        np.testing.assert_array_equal(entry.tokens[name], array)
    assert TokenCache(MB).read("m", content(2)) is None
    assert TokenCache(MB).read("other", content(1)) is None
    assert held()[0] == 1


def test_a_damaged_entry_is_none(cache_folder: Path) -> None:
    cache = TokenCache(MB)
    cache.write("m", content(1), STAMP, tokens(7, 40))
    (path,) = files(cache_folder)
    whole = path.read_bytes()
    stamp = range(8, 8 + STAMP_BYTES)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        entry = cache.read("m", content(1))
        # Another stamp only means that the picture is hashed.
        assert entry is None if at not in stamp else entry is not None and entry.stamp != STAMP
        path.write_bytes(whole[:at])
        assert cache.read("m", content(1)) is None
    path.write_bytes(bytes(len(whole)))
    assert cache.read("m", content(1)) is None
    path.write_bytes(whole + b"x")
    assert cache.read("m", content(1)) is None
    other = path.with_name(content(2)[2:])
    other.write_bytes(whole)  # under another picture's name
    assert cache.read("m", content(2)) is None
    cache.write("m", content(1), STAMP, tokens(7, 40))
    assert cache.read("m", content(1)) is not None


def test_a_content_that_is_no_hash_is_no_file_name(cache_folder: Path) -> None:
    for name in ("", "../../x", "A" * 32, content(1) + "/", content(1) + "\n"):
        TokenCache(MB).write("m", name, STAMP, tokens(1))
        assert TokenCache(MB).read("m", name) is None
    assert not cache_folder.exists()


def test_what_was_not_used_for_longest_goes_first(cache_folder: Path) -> None:
    cache = TokenCache(50_000)
    for n in range(30):
        cache.write("m", content(n), STAMP, tokens(n))
    for age, path in enumerate(sorted(files(cache_folder), key=lambda p: p.parts[-2:])):
        os.utime(path, times=(0, time.time() - 1000 + age))
    assert kept(cache, range(5)) == [0, 1, 2, 3, 4]  # and so they are the newest
    for n in range(100, 125):
        TokenCache(50_000).write("m", content(n), STAMP, tokens(n))
        assert held()[1] <= 50_000
    assert kept(cache, range(5)) == [0, 1, 2, 3, 4]
    assert 5 not in kept(cache, range(30))
    assert kept(cache, range(100, 125)) == [*range(100, 125)]
    TokenCache(10_000).write("m", content(200), STAMP, tokens(1))  # a limit that was made smaller
    assert held()[1] <= 10_000
    cache.write("m", content(201), STAMP, tokens(1, 60_000))  # more than all that may be kept
    assert kept(cache, range(200, 202)) == [200]


def test_what_is_half_a_year_old_or_left_over_goes(cache_folder: Path) -> None:
    TokenCache(MB).write("m", content(1), STAMP, tokens(1))
    (old,) = files(cache_folder)
    left = old.with_name(".x.tmp")
    fresh = old.with_name(".y.tmp")
    for path, age_s in ((left, 4000), (fresh, 10), (old, 181 * 24 * 3600)):
        path.touch()
        os.utime(path, times=(0, time.time() - age_s))
    TokenCache(MB).write("other", content(2), STAMP, tokens(2))
    assert (left.exists(), fresh.exists(), old.exists()) == (False, True, False)


def test_a_disk_that_takes_no_more_is_said_once_and_nothing_half_written_stays(
    cache_folder: Path,
) -> None:
    resource = pytest.importorskip("resource")
    said: list[str] = []
    cache = TokenCache(10 * MB, said.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        for n in range(3):
            cache.write("m", content(n), STAMP, tokens(n, 50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(said) == 1
    assert "picture tokens are not kept" in said[0]
    assert "--rerank-cache 0" in said[0]
    assert files(cache_folder) == []


def test_a_folder_that_cannot_be_written_is_said_once_and_read_all_the_same(
    cache_folder: Path,
) -> None:
    cache_folder.mkdir()
    (cache_folder / "rerank").write_text("a file where the folder would be")
    said: list[str] = []
    cache = TokenCache(MB, said.append)
    for n in range(3):
        cache.write("m", content(n), STAMP, tokens(n))
        assert cache.read("m", content(n)) is None
        cache.confirm("m", content(n), STAMP)
    assert len(said) == 1
    assert held() == (0, 0)


WORKER = """
import sys
import numpy as np
import platformdirs
from pathlib import Path
platformdirs.user_cache_path = lambda *a, **k: Path(sys.argv[1])
from mmsearch.rerankers.token_cache import TokenCache
cache, rng = TokenCache(int(sys.argv[2]), print), np.random.default_rng(int(sys.argv[3]))
print("ready", flush=True)
rounds = 0
while rounds < int(sys.argv[4]):
    n = int(rng.integers(60))
    entry = cache.read("m", f"{n:032x}")
    if entry is None:
        cache.write("m", f"{n:032x}", bytes(16), {"a": np.full(25_000, n, np.float32)})
    else:
        assert (entry.tokens["a"] == n).all() and len(entry.tokens["a"]) == 25_000
        cache.confirm("m", f"{n:032x}", rng.bytes(16))
    rounds += 1
"""


def worker(folder: Path, seed: int, rounds: int) -> subprocess.Popen[str]:
    call = [sys.executable, "-c", WORKER, str(folder), str(3 * MB), str(seed), str(rounds)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_at_once_read_whole_entries_and_keep_the_limit(cache_folder: Path) -> None:
    both = [worker(cache_folder, seed, 400) for seed in (1, 2)]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "ready\n", "")
    pictures, size = held()
    assert 10 < pictures < 60
    assert size <= 3 * MB * (1 + 1 / 16) + 200_000  # a sixteenth of the limit, and one entry each


def test_a_process_that_is_killed_leaves_entries_whole_or_absent(cache_folder: Path) -> None:
    process = worker(cache_folder, 3, 1_000_000)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    time.sleep(0.3)
    process.kill()
    process.communicate()
    cache = TokenCache(3 * MB)
    found = {n: entry for n in range(60) if (entry := cache.read("m", content(n)))}
    assert found
    assert all((entry.tokens["a"] == n).all() for n, entry in found.items())
    there = [p for p in files(cache_folder / "rerank") if p.suffix != ".tmp"]
    assert len(found) == len(there)


def test_the_folder_may_be_deleted_any_time(cache_folder: Path) -> None:
    import shutil

    cache = TokenCache(MB)
    cache.write("m", content(1), STAMP, tokens(1))
    shutil.rmtree(token_cache.folder())
    assert cache.read("m", content(1)) is None
    cache.write("m", content(1), STAMP, tokens(1))
    assert cache.read("m", content(1)) is not None
