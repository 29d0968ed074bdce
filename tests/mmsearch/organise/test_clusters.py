"""Groups and their names, on vectors and captions whose answer can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from index_store import Item
from mmsearch import Encoder
from mmsearch.errors import BadQuery, BadSource
from mmsearch.organise.clusters import centres_of, clusters
from mmsearch.organise.contents import Contents
from mmsearch.organise.naming import names_by_captions, names_by_words, read_words
from mmsearch.organise.projection import on_a_grid, projected


def contents() -> Contents:
    """Three items near one axis, two near another."""
    rows = np.array([[1, 0, 0.1], [1, 0.1, 0], [0, 1, 0], [1, 0, 0], [0.1, 1, 0]], np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Contents([Item(str(n)) for n in range(5)], rows.astype(np.float16))


def test_what_is_close_is_one_cluster_the_largest_first() -> None:
    first, second = clusters(contents(), 2)
    assert sorted(first.members.tolist()) == [0, 1, 3]
    assert sorted(second.members.tolist()) == [2, 4]
    assert clusters(contents(), 2)[0].members.tolist() == first.members.tolist()
    assert centres_of(contents(), [first, second]).argmax(1).tolist() == [0, 1]


def test_fewer_items_than_clusters_is_an_error() -> None:
    with pytest.raises(BadQuery, match="5 pictures cannot be put into 6 clusters"):
        clusters(contents(), 6)


def test_captions_name_a_group_by_what_sets_it_apart() -> None:
    names = names_by_captions(
        [["a dog on grass", "two dogs on the grass"], ["a boat on grass", "a boat at sea"], []]
    )
    assert names[0].startswith("dog")
    assert "dogs" not in names[0]
    assert "boat" in names[1].split()
    assert names[2] == ""


def test_groups_with_one_name_are_numbered() -> None:
    assert names_by_captions([["a dog"], ["a dog"]]) == ["dog", "dog 2"]


def test_a_model_names_groups_by_the_words_of_a_list(encoder: Encoder) -> None:
    colors = ["red", "green", "blue", "white", "black"]
    centres = encoder.encode_texts(colors[:3])
    assert [n.split()[0] for n in names_by_words(encoder, centres, colors)] == colors[:3]


def test_a_list_of_words_is_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# mine\nred car\n\nblue car\nred car\n", encoding="utf8")  # Notepad's
    assert read_words(path) == ["red car", "blue car"]
    path.write_text("\n")
    with pytest.raises(BadSource, match="no word"):
        read_words(path)
    assert len(read_words()) > 100


def test_every_place_has_a_cell_of_its_own() -> None:
    places = np.tile([[0.5, 0.5]], (20, 1))
    cells, side = on_a_grid(places)
    assert len({tuple(c) for c in cells.tolist()}) == 20
    assert cells.max() < side


def test_neighbours_stay_neighbours_on_the_map() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(3, 8), 10, axis=0) + 0.05 * rng.standard_normal((30, 8))
    places = projected(rows.astype(np.float32))
    assert places.min() == 0.0
    assert places.max() == 1.0
    middles = places.reshape(3, 10, 2).mean(1)
    spread = np.linalg.norm(places.reshape(3, 10, 2) - middles[:, None], axis=2).max()
    assert spread < min(
        np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))
    )
