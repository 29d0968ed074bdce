"""Wu and Palmer's similarity, on a WordNet of eight nouns and, where there is one, the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.errors import MissingData
from mmsearch.wordnet import Nouns, WuPalmer

# entity - object - furniture - seat - chair; furniture - table; object - animal - dog
KINDS = {"entity": "", "object": "entity", "furniture": "object", "seat": "furniture",
         "chair": "seat", "table": "furniture", "animal": "object", "dog": "animal"}  # fmt: skip


def write_wordnet(folder: Path) -> Path:
    """Write WordNet's two files of nouns, one meaning a word, with the licence's blanks."""
    folder.mkdir()
    offsets = {word: 100 * n for n, word in enumerate(KINDS, start=1)}
    data, index = ["  1 a licence"], ["  1 a licence"]
    for word, kind in KINDS.items():
        up = f"001 @ {offsets[kind]:08d} n 0000" if kind else "000"
        data.append(f"{offsets[word]:08d} 03 n 01 {word} 0 {up} | what it is")
        index.append(f"{word} n 1 1 @ 1 0 {offsets[word]:08d}")
    (folder / "data.noun").write_text("\n".join(data) + "\n")
    (folder / "index.noun").write_text("\n".join(index) + "\n")
    (folder / "noun.exc").write_text("oxen dog\n")
    return folder


@pytest.fixture
def nouns(tmp_path: Path) -> Nouns:
    return Nouns(write_wordnet(tmp_path / "wordnet"))


def test_similarity_is_twice_the_depth_of_what_is_common(nouns: Nouns) -> None:
    # furniture is 3 deep (entity 1), chair 5, table 4: 2 * 3 / (5 + 4)
    assert nouns.similarity("chair", "table") == pytest.approx(6 / 9)
    # object is 2 deep: 2 * 2 / (5 + 4)
    assert nouns.similarity("chair", "dog") == pytest.approx(4 / 9)
    assert nouns.similarity("seat", "chair") == pytest.approx(8 / 9)
    assert nouns.similarity("chair", "unknown") == 0.0


def test_plurals_are_found(nouns: Nouns) -> None:
    assert nouns.meanings("Chairs") == nouns.meanings("chair") != []
    assert nouns.meanings("oxen") == nouns.meanings("dog")


def test_below_the_threshold_a_tenth_counts(nouns: Nouns) -> None:
    assert WuPalmer(nouns, 0.9)("chair", "seat") == pytest.approx(0.1 * 8 / 9)
    assert WuPalmer(nouns, 0.0)("chair", "seat") == pytest.approx(8 / 9)
    assert WuPalmer(nouns, 0.9)("two", "two") == 1.0  # equal, though WordNet lacks it


def test_a_folder_without_wordnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"data\.noun is not there"):
        Nouns(tmp_path)
    folder = write_wordnet(tmp_path / "broken")
    (folder / "data.noun").write_text("00000100 03 n zz\n")
    with pytest.raises(MissingData, match="cannot be read"):
        Nouns(folder)


def test_the_whole_wordnet_gives_nltks_values() -> None:
    try:
        nouns = Nouns()
    except MissingData:
        pytest.skip("WordNet is not installed (Debian's package wordnet-base)")
    # by NLTK 3.10 over WordNet 3.0
    assert nouns.similarity("dog", "cat") == pytest.approx(0.8571428571)
    assert nouns.similarity("garbage_bin", "chair") == 0.0  # WordNet has no garbage bin
    assert nouns.similarity("books", "book") == 1.0
