"""What is asked: captions, groups, splits, what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmsearch import Encoder
from mmsearch.errors import BadPicture, BadSource
from mmsearch.evaluation import (
    embed,
    evaluate_pairs,
    read_pairs,
)
from mmsearch.evaluation.pairs import normalized
from tests.mmsearch.conftest import paint


def karpathy(folder: Path, **more: object) -> Path:
    images = []
    for split, color in (("train", "red"), ("test", "blue")):
        paint(folder / f"{color}.png", color)
        images.append(
            {"filename": f"{color}.png", "split": split,
             "sentences": [{"raw": f"{color} one"}, {"raw": f"{color} two"}]}
        )  # fmt: skip
    path = folder / "dataset.json"
    path.write_text(json.dumps({"images": images, **more}))
    return path


def test_every_caption_asks_for_its_own_picture(table: Path) -> None:
    pairs = read_pairs(str(table))
    assert pairs.texts == ("a red thing", "A red thing.", "green", "blue")
    assert pairs.text_to_image().candidates.tolist() == [0, 1, 2, 3]
    assert pairs.image_to_text().candidates.tolist() == [0, 1, 2, 3]


def test_pictures_of_one_group_answer_one_anothers_captions(table: Path) -> None:
    pairs = read_pairs(str(table), group="tone")
    relevant = pairs.text_to_image()
    assert [relevant.of(q).tolist() for q in range(4)] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert pairs.image_to_text().of(0).tolist() == [0, 1]
    assert len(set(pairs.text_clusters())) == 2


def test_captions_that_say_the_same_are_merged(table: Path) -> None:
    pairs = read_pairs(str(table), merge_captions=True)
    assert pairs.texts == ("a red thing", "green", "blue")
    assert pairs.owners == ((0, 1), (2,), (3,))
    assert pairs.image_to_text().of(1).tolist() == [0]


def test_what_counts_when_captions_are_merged() -> None:
    assert normalized("  A  red\tThing . ") == normalized("a red thing")
    assert normalized("a red thing") != normalized("a red thin")


def test_the_test_split_is_taken_unless_told_otherwise(tmp_path: Path) -> None:
    source = str(karpathy(tmp_path))
    assert (read_pairs(source).split, read_pairs(source).texts) == (
        "test",
        ("blue one", "blue two"),
    )
    assert len(read_pairs(source, split="all").pictures) == 2
    assert read_pairs(source, split="train").texts == ("red one", "red two")


def test_a_source_without_captions_is_refused(photos: Path) -> None:
    with pytest.raises(BadSource, match="no picture with a caption"):
        read_pairs(str(photos))


def test_an_unknown_group_is_refused(table: Path) -> None:
    with pytest.raises(BadSource, match="has the field 'flavour'"):
        read_pairs(str(table), group="flavour")


def test_a_text_without_a_picture_is_reported(table: Path) -> None:
    table.write_text(table.read_text() + "\n,only a text,cold")
    (skipped,) = read_pairs(str(table)).skipped
    assert "without a picture" in skipped.reason


def test_an_unreadable_picture_is_left_out_with_its_captions(table: Path, encoder: Encoder) -> None:
    (table.parent / "red.png").write_bytes(b"no picture")
    found = embed(encoder, read_pairs(str(table)))
    assert [Path(s.key).name for s in found.pairs.skipped] == ["red.png"]
    assert found.pairs.texts == ("A red thing.", "green", "blue")
    assert (len(found.images), len(found.texts)) == (3, 3)
    assert found.pairs.text_to_image().candidates.tolist() == [0, 1, 2]


def test_a_merged_caption_stays_while_one_of_its_pictures_can_be_read(
    table: Path, encoder: Encoder
) -> None:
    (table.parent / "red.png").write_bytes(b"no picture")
    found = embed(encoder, read_pairs(str(table), merge_captions=True))
    assert found.pairs.texts == ("a red thing", "green", "blue")
    assert found.pairs.owners == ((0,), (1,), (2,))


def test_if_no_picture_can_be_read_the_first_reason_is_told(table: Path, encoder: Encoder) -> None:
    for path in table.parent.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(BadPicture, match="the file is empty"):
        embed(encoder, read_pairs(str(table)))


def test_a_picture_without_a_caption_is_a_distractor_and_asks_nothing(
    photos: Path, encoder: Encoder
) -> None:
    (photos / "red.txt").write_text("something red")
    result, _ = evaluate_pairs(read_pairs(str(photos)), encoder, "color", resamples=20)
    assert result.directions["text_to_image"].ranking.candidates == 3
    assert len(result.directions["image_to_text"].ranking) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_the_right_picture_is_left_out_whatever_batch_it_was_in(
    table: Path, encoder: Encoder, batch_size: int
) -> None:
    (table.parent / "green.png").write_bytes(b"no picture")
    found = embed(encoder, read_pairs(str(table)), batch_size=batch_size)
    assert found.pairs.texts == ("a red thing", "A red thing.", "blue")
    assert [Path(s.path).name for s in found.pairs.pictures] == ["red.png", "red2.png", "blue.png"]
    assert found.images[2].tolist() == [0, 0, 1, 0]
