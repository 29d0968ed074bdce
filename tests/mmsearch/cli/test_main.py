"""The command line as a whole: light imports, help for every command, docs that match."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.cli import COMMANDS
from mmsearch.encoders import STARTER
from tests.mmsearch.cli.conftest import Mmsearch

HEAVY = {"numpy", "torch", "faiss", "onnxruntime", "PIL", "sqlalchemy", "tokenizers", "tqdm"}


@pytest.mark.parametrize("call", ["--help", "--version", "search --help"])
def test_help_and_version_import_nothing_heavy(call: str) -> None:
    code = (
        "import sys; from mmsearch.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *call.split()], capture_output=True, text=True, check=True
    )
    assert set(done.stderr.split()) & HEAVY == set()


def test_a_cold_text_query_imports_only_what_it_needs(indexed: Mmsearch, tmp_path) -> None:
    code = (
        "import sys; from mmsearch.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "search", "red", "--store", str(tmp_path / "store")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"torch", "sqlalchemy", "faiss", "PIL", "tqdm", "huggingface_hub", "filelock"}
    # Each of these costs milliseconds, and comes with a filter, an index, an archive or an error.
    needless = {
        "importlib.metadata", "email", "zipfile", "tarfile", "csv", "difflib", "html", "tomllib",
        "concurrent.futures", "logging", "subprocess", "index_store.where", "index_store.ann",
        "index_store.recipe", "index_store.lexical", "index_store.reports", "mmsearch.sources",
        "mmsearch.composing", "mmsearch.daemon", "mmsearch.metadata",
    }  # fmt: skip
    assert "red.png" in done.stdout
    assert set(done.stderr.split()) & (heavy | needless) == set()


@pytest.mark.skipif(not STARTER.is_dir(), reason="the starter is not there")
def test_a_model_adds_onnxruntime_and_tokenizers_to_that(tmp_path) -> None:
    code = (
        "import sys; from mmsearch.encoders import load_encoder\n"
        "load_encoder('starter', towers='text').encode_texts(['two dogs'])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needless = {"torch", "PIL", "huggingface_hub", "concurrent.futures", "importlib.metadata"}
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "tokenizers"} <= loaded
    assert loaded & needless == set()


@pytest.mark.parametrize(
    ("call", "code", "out", "err"),
    [
        (["--format", "json"], 0, '"key"', ""),
        (["--min-score", "2"], 1, "", "no match"),
        (["--limit", "many"], 2, "", "Invalid value"),
        (["--collection", "none"], 3, "", "mmsearch: "),
    ],
)
def test_a_search_that_is_a_process_says_all_and_leaves_with_its_code(
    indexed: Mmsearch, tmp_path, call, code, out, err
) -> None:
    # Such a process ends without the interpreter's own end, which flushes what was printed.
    command = [sys.executable, "-m", "mmsearch", "search", "red", "--store", tmp_path / "store"]
    done = subprocess.run([*command, *call], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert out in done.stdout
    assert bool(out) == bool(done.stdout)
    assert err in done.stderr
    if out:
        assert len(json.loads(done.stdout)["hits"]) == 3


def test_a_query_keeps_openblas_to_one_thread_unless_told(
    indexed: Mmsearch, tmp_path, monkeypatch
) -> None:
    code = (
        "import os, sys, builtins; real = builtins.__import__\n"
        "def spy(name, *rest, **named):\n"
        "    if name.startswith('numpy') and 'numpy' not in sys.modules:\n"
        "        print('threads', os.environ.get('OPENBLAS_NUM_THREADS'), file=sys.stderr)\n"
        "    return real(name, *rest, **named)\n"
        "builtins.__import__ = spy\n"
        "from mmsearch.cli import main; main(sys.argv[1:])"
    )
    call = [sys.executable, "-c", code, "search", "red", "--store", str(tmp_path / "store")]
    for told, threads in ((None, "1"), ("3", "3")):
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if told:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", told)
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        assert f"threads {threads}" in done.stderr.splitlines()


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(mmsearch: Mmsearch, command: str) -> None:
    done = mmsearch(command, "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: mmsearch ")


def test_an_unexpected_error_is_not_hidden(
    mmsearch: Mmsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mmsearch.models as models

    monkeypatch.setattr(models, "list_models", lambda: 1 / 0)
    from mmsearch.cli import main

    with pytest.raises(ZeroDivisionError):
        main(["models", "list"])


@pytest.mark.parametrize(
    "call", ["search red", "status", "--help", "search red --format json 2>&1", "serach 2>&1"]
)
def test_a_reader_that_has_enough_ends_us_quietly(indexed: Mmsearch, tmp_path, call: str) -> None:
    # As SIGPIPE ends other programs: to a shell that is 128 + 13.
    command = f"{sys.executable} -m mmsearch {call} | true; exit ${{PIPESTATUS[0]}}"
    env = os.environ | {"MMSEARCH_HOME": str(tmp_path / "store")}
    done = subprocess.run(
        ["bash", "-c", command], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("call", ["search red", "search red --format paths", "status"])
def test_output_that_cannot_be_written_is_one_error(indexed: Mmsearch, tmp_path, call: str) -> None:
    env = os.environ | {"MMSEARCH_HOME": str(tmp_path / "store")}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m mmsearch {call} >/dev/full"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = "mmsearch: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize(
    ("call", "code"),
    [("search red >&-", 0), ("search red >&- 2>&-", 0), ("search - <&-", 2), ("status 2>&-", 0)],
)
def test_a_stream_that_the_caller_closed_is_as_the_null_device(
    indexed: Mmsearch, tmp_path, call: str, code: int
) -> None:
    env = os.environ | {"MMSEARCH_HOME": str(tmp_path / "store")}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m mmsearch {call}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("search", "caf\udce9"), 2), (("search", "red", "--not", "caf\udce9"), 2),
        (("search", "red", "--path", "caf\udce9*"), 2),
        (("search", "red", "--tag", "caf\udce9"), 2),
        (("search", "red", "--where", 'text ~ "caf\udce9"'), 2),
        (("search", "id:caf\udce9"), 2), (("search", "red", "--like", "caf\udce9"), 2),
        (("similar", "caf\udce9"), 2), (("tag", "caf\udce9"), 2),
        (("explain", "caf\udce9", "red.png"), 2), (("config", "set", "store", "caf\udce9"), 2),
        (("search", "red", "--collection", "caf\udce9"), 3),
        (("index", "photos", "--collection", "caf\udce9", "--model", "color"), 3),
    ],
)  # fmt: skip
def test_an_argument_that_is_no_utf8_is_one_error(
    indexed: Mmsearch, tmp_path, call: tuple[str, ...], code: int
) -> None:
    (tmp_path / "red.png").write_bytes((tmp_path / "photos" / "red.png").read_bytes())
    done = indexed(*call)
    assert (done.code, done.out) == (code, "")
    assert "Unicode" in done.err or "UTF-8" in done.err or r"caf\xe9" in done.err or (
        r"'caf\udce9'" in done.err)  # fmt: skip
