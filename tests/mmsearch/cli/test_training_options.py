"""The options of `train`, `tune` and `train-answers` on real photographs: each arrives."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("transformers")

from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.test_wordnet import write_wordnet

HEADS = {
    "--freeze": "both", "--cache-views": "2", "--chunk": "4", "--captions": "2",
    "--label-smoothing": "0.05", "--head-lr": "0.001", "--weight-decay": "0.2", "--warmup": "0.2",
    "--clip-grad": "0.5", "--temperature": "0.05", "--dropout": "0.3", "--ema": "0.5",
    "--crop-scale": "0.7", "--flip": "on", "--jitter": "0.05", "--hard-negatives": "1",
    "--workers": "1", "--k": "1", "--general-limit": "9", "--general-tolerance": "100",
    "--general-stop": "100", "--precision": "bfloat16",
}  # fmt: skip
TOWERS = {
    "--loss": "cosine", "--margin": "0.3", "--mlm-weight": "0.1", "--image-lr": "0.0001",
    "--text-lr": "0.00002", "--layer-decay": "0.9", "--image-blocks": "1", "--text-blocks": "1",
}  # fmt: skip
BOTH = {"--loss": "siglip", "--last-blocks": "1", "--heldout": "0.4", "--workers": "1"}
COMMON = ["--epochs", "1", "--batch-size", "8", "--patience", "0", "--threads", "1", "--force",
          "--quiet"]  # fmt: skip
DUAL = [*COMMON, "--wiseft-steps", "1"]


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, Path]:
    """Two tables of Flickr8k's photographs: one with splits, "dev" one of them, and one without."""
    data = shared_data("flickr8k")
    images = json.loads((data / "dataset.json").read_text())["images"]
    of = {split: [i for i in images if i["split"] == split] for split in ("train", "val")}
    tables = tmp_path / "a.csv", tmp_path / "b.csv"
    parts = (("train", of["train"][:16]), ("dev", of["val"][:10])), (("", of["train"][16:40]),)
    for table, rows in zip(tables, parts, strict=True):
        with table.open("w", newline="", encoding="utf8") as file:
            out = csv.writer(file)
            out.writerow(["image", "caption", *(["split"] if rows[0][0] else [])])
            for split, some in rows:
                for image in some:
                    place = data / image.get("filepath", "") / image["filename"]
                    for sentence in image["sentences"][:2]:
                        out.writerow([place, sentence["raw"], *([split] if split else [])])
    return tables


def arrived(folder: Path, given: dict[str, str]) -> dict[str, Any]:
    """Return which of the options are not in the run's record as they were given."""
    config = json.loads((folder / "run.json").read_text())["config"]
    told = {name: config[name.removeprefix("--").replace("-", "_")] for name in given}
    return {n: v for n, v in told.items() if str(v) != given[n] and float(v) != float(given[n])}


def words(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


def test_train_the_heads_alone(mmsearch: Mmsearch, photographs: tuple[Path, Path]) -> None:
    one, two = photographs
    done = mmsearch("train", one, two, "--out", "heads", "--val-split", "dev", "--general", two,
                    "--augment", "--one-source", *words(HEADS), *DUAL)  # fmt: skip
    assert done.code == 0, done.err
    assert arrived(Path("heads"), HEADS) == {}
    config = json.loads(Path("heads/run.json").read_text())["config"]
    assert (config["one_source"], config["augment"]) == (True, True)
    assert mmsearch("eval", one, "--split", "dev", "--model", "checkpoint:heads").code == 0


@pytest.mark.parametrize("options", [TOWERS, BOTH])
def test_train_the_last_stages(
    mmsearch: Mmsearch, photographs: tuple[Path, Path], options: dict[str, str]
) -> None:
    done = mmsearch("train", photographs[1], "--out", "towers", *words(options), *DUAL)
    assert done.code == 0, done.err
    assert arrived(Path("towers"), options) == {}


def test_tune_takes_the_same(mmsearch: Mmsearch, photographs: tuple[Path, Path]) -> None:
    fixed = {name: value for name, value in HEADS.items() if name != "--head-lr"}
    done = mmsearch("tune", *photographs, "--out", "tuning", "--val-split", "dev", "--general",
                    photographs[1], "--augment", "--one-source", "--trials", "1", "--epochs", "1",
                    "--batch-size", "8", "--threads", "1", "--quiet", *words(fixed))  # fmt: skip
    assert done.code in (0, 1), done.err  # 1: nothing beat the base
    told = json.loads(Path("tuning/tune.json").read_text())
    assert "head_lr" in json.dumps(told)


def test_train_a_reranker(mmsearch: Mmsearch, photographs: tuple[Path, Path]) -> None:
    given = {"--fusion": "concat", "--width": "16", "--layers": "1", "--group-size": "4",
             "--itc-weight": "0.5", "--candidates": "5", "--mlm-weight": "0"}  # fmt: skip
    done = mmsearch("train", photographs[1], "--stage", "rerank", "--out", "reranker", "--tokens",
                    "tokens", "--heldout", "0.4", *words(given), *COMMON)  # fmt: skip
    assert done.code == 0, done.err
    assert arrived(Path("reranker"), given) == {}
    assert any(Path("tokens").iterdir())


def test_train_answers_and_measure_them(mmsearch: Mmsearch, tmp_path: Path) -> None:
    data, nouns = shared_data("daquar") / "dataset.json", str(write_wordnet(tmp_path / "wordnet"))
    done = mmsearch("train-answers", data, "--base", "color", "--out", "head", "--test-split",
                    "none", "--epochs", "1", "--members", "1", "--max-answers", "20",
                    "--weight-decay", "0.2", "--dropout", "0.1", "--no-flip", "--threads", "1",
                    "--wordnet", nouns, "--quiet")  # fmt: skip
    assert done.code == 0, done.err
    assert len(json.loads(Path("head/answers.json").read_text())["answers"]) == 20
    done = mmsearch("eval-answers", data, "--split", "test", "--answerer", "head:head", "--first",
                    "7", "--wordnet", nouns, "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["questions"] == 7
    assert "WUPS@0.9" in found["figures"]["head:head"]


def test_export_without_hubness(mmsearch: Mmsearch, photographs: tuple[Path, Path]) -> None:
    _, table = photographs
    done = mmsearch("models", "export", "starter", "fair", "--debias", table, "-q")
    if done.code:  # so few pictures may well gain nothing, which is said and leaves nothing
        assert "is best left as it is" in done.err
        assert not Path("fair").exists()
    else:
        assert "held-out R@1/5/10" in done.out
        assert mmsearch("eval", table, "--model", "onnx:fair").code == 0
