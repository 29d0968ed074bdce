"""`mmsearch batch`: the answers of `search`, as the lines come."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mmsearch.cli.conftest import Mmsearch, real_photos


def hits(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(Path(h["path"]).stem, pytest.approx(h["score"], abs=2e-6)) for h in answer["hits"]]


@pytest.mark.parametrize("weight", [[], ["--hybrid-weight", "0.8"]])
def test_each_line_gets_the_answer_that_search_hybrid_gives(
    real: Mmsearch, tmp_path: Path, weight: list[str]
) -> None:
    cat = str(real_photos()[2])
    lines = ["chelsea", "a cup of coffee", "motorcycle on the grass", cat, "rocket", "the moon"]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    done = real("batch", "lines.txt", "--hybrid", *weight, "-n", "5")
    assert (done.code, done.err) == (0, "")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert len(answers) == len(lines)
    for line, answer in zip(lines, answers, strict=True):
        alone = real("search", line, "--hybrid", *weight, "-n", "5", "--format", "json").out
        assert hits(answer) == hits(json.loads(alone))
    plain = json.loads(real("batch", "lines.txt", "-n", "5").out.splitlines()[0])
    assert hits(plain) != hits(answers[0])  # the model does not know what "chelsea" is
    assert answers[0]["hits"][0]["path"].endswith("chelsea.png")


@pytest.mark.parametrize("options", [[], ["--hybrid"]])
def test_who_writes_a_line_and_waits_gets_its_answer(indexed: Mmsearch, options: list[str]) -> None:
    command = [sys.executable, "-m", "mmsearch", "batch", "-", "-n", "1", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for color in ("red", "blue"):
            process.stdin.write(f"{color}\n".encode())
            process.stdin.flush()
            assert f"{color}.png" in process.stdout.readline().decode()
        process.stdin.close()
        assert process.wait() == 0


def test_lines_that_are_no_utf8_are_named(
    indexed: Mmsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "\ufeffred\r\n\nblue".encode() + b"\n\xff\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    done = indexed("batch", "-")
    assert (done.code, "line 4 of the queries is no UTF-8" in done.err) == (2, True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given[:-2])))
    answers = [json.loads(a) for a in indexed("batch", "-").out.splitlines()]
    assert [a["query"]["text"] for a in answers] == ["red", "blue"]


def test_an_answer_is_beside_the_line_that_asked_whatever_it_was(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    red = photos / "red.png"
    lines = ["red", "red + green", f"id:{red}", str(red)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    table = indexed("batch", "lines.txt", "-n", "1", "--format", "table").out.splitlines()
    assert table[::2] == [f"# {line}" for line in lines]
    rows = indexed("batch", "lines.txt", "-n", "1", "--format", "csv").out.splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == lines


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("id:nope", "no item nope"),
        ("red + 0:green", "0 is no weight"),
        ("lines.txt", "not a picture"),
        ("red + lines.txt", "not a picture"),
    ],
)
@pytest.mark.parametrize("hybrid", [(), ("--hybrid",)])
def test_an_error_names_the_line_it_is_in_and_those_before_are_answered(
    indexed: Mmsearch, tmp_path: Path, line: str, said: str, hybrid: tuple[str, ...]
) -> None:
    (tmp_path / "lines.txt").write_text(f"red\n\n{line}\nblue\n")
    done = indexed("batch", "lines.txt", *hybrid)
    assert done.code == 2
    assert [json.loads(answer)["query"]["text"] for answer in done.out.splitlines()] == ["red"]
    assert "line 3 of the queries: " in done.err
    assert said in done.err
