"""`mmsearch optimize`: report, exit codes, units, warnings."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from index_store import Item, Store
from mmsearch import query_texts
from mmsearch.encoders.color import COLORS, ColorEncoder
from mmsearch.query_texts import log_path, logged_queries
from tests.mmsearch.cli.conftest import Mmsearch


@pytest.fixture
def colors(tmp_path: Path, mmsearch: Mmsearch) -> Mmsearch:
    """A collection of 600 pictures of random colours."""
    means = np.random.default_rng(0).random((600, 3)).astype(np.float32)
    with Store.open(tmp_path / "store", create=True) as store:
        collection = store.create_collection("default", ColorEncoder.space, model="color")
        collection.add([Item(str(i)) for i in range(600)], ColorEncoder().encode_images(means))
    return mmsearch


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.txt"
    pairs = [f"{a} and {b}" for a in COLORS for b in list(COLORS)[:3]]
    path.write_text("\n".join(pairs) + "\n\n")
    return path


def test_the_index_is_chosen_measured_and_used(colors: Mmsearch, asked: Path) -> None:
    done = colors("optimize", "--queries", asked, "--index", "hnsw-flat", "--index", "exact")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[:2] == ["recipe", "recall@10"]
    assert [line.split()[0] for line in lines[1:]] == ["exact", "hnsw-flat"]
    assert sum(line.endswith("chosen") for line in lines) == 1
    assert "600 images; 42 given texts asked" in done.err
    assert "warning" not in done.err
    assert colors("search", "red").code == 0


def test_json_has_the_documented_shape(colors: Mmsearch, asked: Path, tmp_path: Path) -> None:
    done = colors("optimize", "--queries", asked, "--format", "json", "--max-ram", "1.5M",
                  "--index", "ivf-flat", "--target-recall", "0.9")  # fmt: skip
    report = json.loads(done.out)
    assert list(report) == ["schema", "kind", "rows", "queries", "asked", "flattering", "target",
                            "trials", "chosen", "published"]  # fmt: skip
    assert report["target"] == {"recall@10": 0.9, "max_latency_ms": None, "max_ram": 1_572_864}
    (trial,) = report["trials"]
    assert list(trial) == ["recipe", "recall@10", "p50_ms", "p99_ms", "bytes", "build_s", "missed"]
    assert trial["recall@10"] >= 0.9
    assert (report["published"], report["chosen"]) == (True, trial["recipe"])
    with Store.open(tmp_path / "store", readonly=True) as store:
        assert store.collection("default").stats().indexes[0].type == trial["recipe"]


def test_a_missed_target_changes_nothing_and_is_exit_code_1(colors: Mmsearch, asked: Path) -> None:
    done = colors("optimize", "--queries", asked, "--max-latency-ms", "0.000001")
    assert done.code == 1
    assert "misses latency" in done.out
    assert "nothing was changed" in done.err
    assert "search      exact" in colors("status").out


def test_a_dry_run_says_so_and_changes_nothing(colors: Mmsearch, asked: Path) -> None:
    done = colors("optimize", "--queries", asked, "--index", "hnsw-flat", "--dry-run")
    assert (done.code, "dry run" in done.err) == (0, True)
    assert "search      exact" in colors("status").out


def test_pictures_as_queries_are_warned_of(colors: Mmsearch) -> None:
    done = colors("optimize", "--dry-run")
    assert done.code == 0
    assert "stored images as queries, which flatter" in done.err


def test_words_that_pictures_bring_are_asked_where_there_are_no_captions(
    tmp_path: Path, mmsearch: Mmsearch
) -> None:
    means = np.random.default_rng(0).random((300, 3)).astype(np.float32)
    pairs = [f"{a} {b}" for a in COLORS for b in COLORS]
    items = [Item(f"/p/{i}/{pairs[i % len(pairs)]}.jpg") for i in range(300)]
    with Store.open(tmp_path / "store", create=True) as store:
        collection = store.create_collection("default", ColorEncoder.space, model="color")
        collection.add(items, ColorEncoder().encode_images(means))
    done = mmsearch("optimize", "--dry-run", "--format", "json")
    report = json.loads(done.out)
    assert (report["asked"], report["flattering"]) == ("metadata", False)
    assert report["queries"] >= 100
    assert "warning" not in done.err


def test_questions_are_remembered_only_where_that_is_wanted_and_then_asked(
    colors: Mmsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = partial(logged_queries, tmp_path / "store", "default")
    colors("search", "red")
    assert logged() == []
    pairs = [f"{a} and {b}" for a in COLORS for b in COLORS][:60]
    (tmp_path / "q.txt").write_text("\n".join(pairs))
    assert colors("batch", tmp_path / "q.txt", "--query-log").code == 0
    assert colors("search", "a purple thing", "--no-query-log").code == 0
    assert logged() == pairs[::-1]
    colors("config", "set", "query-log", "true")
    colors("search", "teal, I think")
    assert logged()[0] == "teal, I think"
    done = colors("optimize", "--dry-run", "--format", "json")
    assert json.loads(done.out)["asked"] == "log"
    path = log_path(tmp_path / "store", "default")
    assert os.name == "nt" or path.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(query_texts, "LOGGED", 10)  # as in a log that is full
    colors("search", "blue")
    assert logged() == ["blue", "teal, I think", *pairs[::-1][:3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-ram", "2X"], "'2X' is no size"),
        (["--max-ram", "0"], "'0' is no size"),
        (["--index", "hnws"], "there is no kind 'hnws'; known: exact, pq4fs"),
        (["--target-recall", "95"], "not in the range"),
        (["--queries", "few.txt"], "1 texts; at least 20"),
    ],
)
def test_a_wrong_call_is_explained(
    options: list[str], message: str, colors: Mmsearch, tmp_path: Path
) -> None:
    (tmp_path / "few.txt").write_text("red\n")
    done = colors("optimize", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_too_small_a_collection_asks_for_queries(indexed: Mmsearch) -> None:
    done = indexed("optimize")
    assert done.code == 2
    assert "give 20 texts or more by --queries" in done.err


def test_an_index_that_so_few_pictures_cannot_have_is_said_not_to_be_tried(
    indexed: Mmsearch, asked: Path
) -> None:
    done = indexed("optimize", "--queries", asked, "--index", "ivf-flat", "--index", "exact")
    assert done.code == 0
    assert "not tried: ivf-flat; an index needs 256 images" in done.err
