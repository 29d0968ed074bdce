"""Texts to measure with: what pictures bring, without what cameras call their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Item, Space, Store
from mmsearch.query_texts import metadata_texts


@pytest.mark.parametrize(
    ("item", "texts"),
    [
        (Item("/home/me/Greece 2019/IMG_0123.jpg"), []),
        (Item("/home/me/Greece 2019/sunsetBeach-2.jpg"), ["greece sunset beach"]),
        (Item("/p/DSC1.jpg", meta={"keywords": ["dog", "snow"], "title": "Rex"}),
         ["Rex", "dog, snow"]),
        (Item("/p/1.jpg", meta={"caption": "two dogs in the snow"}), ["two dogs in the snow"]),
        (Item("/p/1.jpg#1", "text", text="a caption"), []),
    ],
)  # fmt: skip
def test_a_picture_brings_its_words(item: Item, texts: list[str], tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        collection = store.create_collection("c", Space("test/2", 2))
        collection.add([item], np.eye(2, dtype=np.float32)[:1])
        assert metadata_texts(collection) == texts


def test_the_same_words_are_asked_once_and_not_ever_more(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True) as store:
        collection = store.create_collection("c", Space("test/2", 2))
        items = [Item(f"/p/{i}.jpg", meta={"title": f"Rex {i // 2}"}) for i in range(3_000)]
        collection.add(items, np.repeat(np.eye(2, dtype=np.float32)[:1], 3_000, axis=0))
        texts = metadata_texts(collection)
    assert 300 <= len(texts) <= 400
    assert len(set(texts)) == len(texts)
