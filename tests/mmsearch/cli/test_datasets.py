"""`mmsearch index` and `eval` on data sets in their own formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mmsearch.cli.conftest import Mmsearch

NAMES = ("red", "green", "nested/blue")


def flickr(folder: Path) -> Path:
    path = folder / "Flickr8k.token.txt"
    path.write_text("".join(f"{n}.png#0\t{Path(n).name}\n" for n in NAMES))
    return path


def parquet(folder: Path) -> Path:
    pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    pq = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    path = folder / "t.parquet"
    cells = [{"bytes": (folder / f"{n}.png").read_bytes(), "path": None} for n in NAMES]
    pq.write_table(pa.table({"image": cells, "caption": [Path(n).name for n in NAMES]}), path)
    return path


def gqa(folder: Path) -> Path:
    path = folder / "val_balanced_questions.json"
    for n in NAMES:
        (folder / f"{n}.png").rename(folder / f"{Path(n).name}.jpg")
    names = [Path(n).name for n in NAMES]
    asked = {n: {"imageId": n, "question": "What is it?", "fullAnswer": n} for n in names}
    path.write_text(json.dumps(asked))
    return path


@pytest.mark.parametrize("make", [flickr, parquet, gqa])
def test_a_data_set_is_indexed_searched_and_measured(
    mmsearch: Mmsearch, photos: Path, make
) -> None:
    path = make(photos)
    done = mmsearch("index", path, "--model", "color", "--format", "json")
    report = json.loads(done.out)["report"]
    assert (done.code, report["added"], report["captions"]) == (0, 3, 3)
    again = mmsearch("index", path, "--model", "color", "--format", "json")
    assert json.loads(again.out)["report"]["unchanged"] == 3
    (hit,) = json.loads(mmsearch("search", "blue", "-n", "1", "--format", "json").out)["hits"]
    assert "blue" in hit["key"] or hit["key"].endswith("#row-3")
    done = mmsearch("eval", path, "--model", "color", "--format", "json", "--resamples", "20")
    assert (done.code, json.loads(done.out)["text_to_image"]["R@1"]) == (0, 100)
