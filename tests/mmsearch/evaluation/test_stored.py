"""A stored collection on judged queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Item, Store
from index_store.errors import SpaceMismatch
from mmsearch import Encoder
from mmsearch.errors import BadSource
from mmsearch.evaluation import (
    evaluate_collection,
)
from mmsearch.evaluation.stored import judge, read_qrels, read_queries
from tests.mmsearch.evaluation.conftest import Backwards


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, Path]:
    queries, qrels = tmp_path / "q.tsv", tmp_path / "judged.qrels"
    queries.write_text("1\tred\n2\tgreen and blue\n3\tpurple\n")
    qrels.write_text(
        "1 0 red 2\n1 0 blue 0\n2\t0\tgreen\t1\n2\t0\tblue\t3\n3 0 gone 1\n9 0 red 1\n"
    )
    return queries, qrels


@pytest.fixture
def colors(store: Store, encoder: Encoder) -> Store:
    collection = store.create_collection("colors", encoder.space, model="color")
    names = ["red", "green", "blue"]
    collection.add([Item(name) for name in names], encoder.encode_texts(names))
    return store


def test_a_collection_is_measured_with_graded_qrels(
    colors: Store, encoder: Encoder, judged: tuple[Path, Path]
) -> None:
    result, _ = evaluate_collection(colors.collection("colors"), encoder, *judged, resamples=20)
    found = result.directions["text_to_image"]
    assert len(found.ranking) == 2
    # Green and blue tie: the lower grade comes first.
    ndcg = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert found.values["nDCG@10"].tolist() == pytest.approx([100, 100 * ndcg])
    assert result.notes == (
        "1 relevant items of the qrels are not in the collection",
        "1 queries have no relevant item in the collection; they were left out",
        "1 queries of the qrels are not in the file of queries",
    )
    assert result.losses["text_to_image"].stages[1].hits[5] == 100


def test_an_item_may_be_named_by_its_file_where_that_is_clear() -> None:
    items = [Item(f"/{f}/{n}.jpg", meta={"name": f"{n}.jpg"}) for f, n in ("ax", "bx", "ay")]
    found = judge({"1": "one"}, {"1": {"y.jpg": 1.0, "x.jpg": 1.0}}, items)
    assert found.grades == ({2: 1.0},)


@pytest.mark.parametrize(
    "line",
    ["1 0 red", "1 0 red high", "one two three four five", "q1 0 b.png nan", "q1 0 b.png inf"],
)
def test_a_broken_line_of_qrels_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.qrels"
    path.write_text(f"1 0 red 1\n\n{line}\n")
    with pytest.raises(BadSource, match=r"x\.qrels, line 3"):
        read_qrels(path)


@pytest.mark.parametrize("line", ["no tab", "1\t ", "0\tagain"])
def test_a_broken_line_of_queries_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "q.tsv"
    path.write_text(f"0\tred\n{line}\n")
    with pytest.raises(BadSource, match="line 2"):
        read_queries(path)


def test_a_missing_file_of_queries_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="No such file"):
        read_queries(tmp_path / "none.tsv")


def test_another_encoder_is_refused(
    colors: Store, encoder: Encoder, judged: tuple[Path, Path]
) -> None:
    with pytest.raises(SpaceMismatch):
        evaluate_collection(colors.collection("colors"), Backwards(encoder), *judged)
