"""`mmsearch caption` and `eval-captions`, with a tiny random BLIP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmsearch.answering.captioning import MARK
from tests.mmsearch.cli.conftest import Mmsearch


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("torch")
    tf = pytest.importorskip("transformers")
    from tests.mmsearch.answering import models

    folder = tmp_path_factory.mktemp("blip")
    return f"blip:{models.blip(folder, tf.BlipForConditionalGeneration)}"


def test_files_are_described_and_a_broken_one_is_named(
    mmsearch: Mmsearch, photos: Path, blip: str
) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    done = mmsearch("caption", photos / "red.png", photos / "bad.png", photos / "green.png",
                    "--captioner", blip)  # fmt: skip
    assert done.code == 5
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [
        str(photos / "red.png"), str(photos / "green.png"),
    ]  # fmt: skip
    assert "bad.png" in done.err


def test_of_eight_pictures_of_which_none_opens_each_is_named(
    indexed: Mmsearch, photos: Path, blip: str
) -> None:
    missing = [photos / f"gone{n}.png" for n in range(8)]
    done = indexed("caption", *missing, photos / "red.png", "--captioner", blip)
    assert done.code == 5
    assert all(path.name in done.err for path in missing)
    assert "red.png\t" in done.out


def test_saved_captions_are_found_and_not_written_twice(
    indexed: Mmsearch, photos: Path, blip: str
) -> None:
    call = ("caption", "--all", "--save", "--captioner", blip, "--format", "jsonl")
    done = indexed(*call)
    assert done.code == 0, done.err
    captions = {row["key"]: row["caption"] for row in map(json.loads, done.out.splitlines())}
    assert len(captions) == 3
    assert all(captions.values())  # a random model writes something of its few words
    assert "3 captions stored" in done.err
    found = indexed("search", "anything", "--kind", "text", "--format", "json", "-n", "20")
    texts = {hit["key"]: hit for hit in json.loads(found.out)["hits"]}
    assert {key for key in texts if MARK in key} == {f"{key}{MARK}" for key in captions}
    for key, caption in captions.items():
        hit = texts[f"{key}{MARK}"]
        assert hit["text"] == caption
        assert hit["meta"]["picture"] == key
        assert hit["meta"]["captioned_by"] == blip
    again = indexed(*call)
    assert again.out == ""
    assert "0 captions stored" in again.err
    # what forgets a picture forgets its caption
    (photos / "green.png").unlink()
    assert indexed("index", photos, "--model", "color", "--prune").code == 0
    found = indexed("search", "anything", "--kind", "text", "--format", "json", "-n", "20")
    left = [hit["key"] for hit in json.loads(found.out)["hits"] if MARK in hit["key"]]
    assert len(left) == 2


def test_hits_are_described_and_nothing_is_stored(indexed: Mmsearch, blip: str) -> None:
    done = indexed("caption", "--hits", "blue", "-n", "1", "--captioner", blip)
    assert done.code == 0
    assert "blue.png\t" in done.out
    assert MARK not in indexed("search", "blue", "--kind", "text", "--format", "json").out


def test_captions_are_measured(mmsearch: Mmsearch, photos: Path, blip: str) -> None:
    pytest.importorskip("sacrebleu")
    pytest.importorskip("pycocoevalcap")
    (photos / "pairs.csv").write_text("image,caption\nred.png,two dogs\nred.png,a cat\n"
                                      "green.png,a beach\ngone.png,a\n")  # fmt: skip
    done = mmsearch("eval-captions", photos / "pairs.csv", "--captioner", blip, "--format", "json")
    assert done.code == 5
    assert "gone.png" in done.err
    result = json.loads(done.out)
    assert result["pictures"] == 2
    assert [Path(left["key"]).name for left in result["skipped"]] == ["gone.png"]
    fewer = mmsearch("eval-captions", photos / "pairs.csv", "--captioner", blip, "--first", "1",
                     "--format", "json")  # fmt: skip
    assert fewer.code == 0
    assert json.loads(fewer.out)["pictures"] == 1
    assert list(result["figures"]) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "chrF", "CIDEr"]


def test_a_wrong_call_is_told_before_a_model_is_loaded(mmsearch: Mmsearch, photos: Path) -> None:
    model = ("--captioner", "blip:nowhere")
    assert "one of the three" in mmsearch("caption", *model).err
    assert mmsearch("caption", "--all", "--hits", "x", *model).code == 2
    assert mmsearch("caption", photos / "red.png", "--save", *model).code == 2
    assert mmsearch("caption", photos / "red.png", *model).code == 4
