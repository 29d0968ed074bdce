"""Flickr8k's and Flickr30k's caption files: lines as the real ones have them."""

from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers import read
from mmsearch.types import Sample, Skipped

CHILD, DOGS = "1000268201_693b08cb0e.jpg", "1001773457_577c3a7d70.jpg"
TOKENS = (
    f"{CHILD}#0\tA child in a pink dress is climbing up a set of stairs in an entry way .\n"
    f"{CHILD}#1\tA girl going into a wooden building .\n"
    f"{DOGS}#0\tA black dog and a spotted dog are fighting\n"
)
CAPTIONS = {
    CHILD: (
        "A child in a pink dress is climbing up a set of stairs in an entry way .",
        "A girl going into a wooden building .",
    ),
    DOGS: ("A black dog and a spotted dog are fighting",),
}
KAGGLE_8K = (
    "image,caption\n"
    f"{CHILD},A child in a pink dress is climbing up a set of stairs in an entry way .\n"
    f"{CHILD},A girl going into a wooden building .\n"
    f"{DOGS},A black dog and a spotted dog are fighting\n"
)
KAGGLE_30K = (
    "image_name| comment_number| comment\n"
    f"{CHILD}| 0| A child in a pink dress is climbing up a set of stairs in an entry way .\n"
    f"{CHILD}| 1| A girl going into a wooden building .\n"
    f"{DOGS}| 4   A black dog and a spotted dog are fighting\n"  # as row 19,999 of the real file
)


def pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or (CHILD, DOGS):
        (folder / name).write_text(name)


def captions(path: Path, **options: str) -> dict[str, tuple[str, ...]]:
    found = list(read(str(path), **options))
    assert all(isinstance(s, Sample) for s in found), found
    return {Path(s.path).name: s.captions for s in found if isinstance(s, Sample)}


@pytest.mark.parametrize(
    ("name", "text", "folder"),
    [
        ("Flickr8k_text/Flickr8k.token.txt", TOKENS, "Flicker8k_Dataset"),
        ("Flickr8k.token.txt", TOKENS, "."),
        ("flickr30k/results_20130124.token", TOKENS, "flickr30k-images"),
        ("archive/captions.txt", KAGGLE_8K, "archive/Images"),
        (
            "archive/captions.txt",
            "image_name,comment_number,comment\n"
            + "".join(line.replace("#", ",").replace("\t", ",") + "\n"
                      for line in TOKENS.splitlines()),
            "archive/Images",
        ),
        ("flickr30k_images/results.csv", KAGGLE_30K, "flickr30k_images/flickr30k_images"),
    ],
)  # fmt: skip
def test_each_caption_file_finds_its_pictures_where_its_archive_has_them(
    tmp_path, name, text, folder
):
    pictures(tmp_path / folder)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert captions(tmp_path / name) == CAPTIONS
    found = next(iter(read(str(tmp_path / name))))
    assert isinstance(found, Sample)
    assert set(found.item.meta) == {"name", "folder", "bytes", "mtime"}


def test_the_lists_beside_it_say_the_split(tmp_path):
    pictures(tmp_path, CHILD, DOGS, "none.jpg", "dev.jpg")
    lines = TOKENS + "none.jpg#0\tx\ndev.jpg#0\ty\n"
    (tmp_path / "Flickr8k.token.txt").write_text(lines)
    (tmp_path / "Flickr_8k.trainImages.txt").write_text(f"{CHILD}\n")
    (tmp_path / "Flickr_8k.devImages.txt").write_text("dev.jpg\r\n")
    (tmp_path / "Flickr_8k.testImages.txt").write_text(f"{DOGS}\n")
    path = tmp_path / "Flickr8k.token.txt"
    splits = [s.item.meta.get("split") for s in read(str(path)) if isinstance(s, Sample)]
    assert splits == ["train", "test", None, "val"]
    assert list(captions(path, split="val")) == ["dev.jpg"]
    with pytest.raises(BadSource, match="no split 'dev'; it has test, train, val"):
        captions(path, split="dev")


def test_the_lists_of_flickr30k_entities_have_no_suffixes(tmp_path):
    pictures(tmp_path)
    (tmp_path / "results_20130124.token").write_text(TOKENS)
    (tmp_path / "test.txt").write_text(f"{DOGS[:-4]}\n")
    assert list(captions(tmp_path / "results_20130124.token", split="test")) == [DOGS]


def test_without_lists_there_are_no_splits(tmp_path):
    pictures(tmp_path)
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    with pytest.raises(BadSource, match="no split 'test'; it has none"):
        captions(tmp_path / "Flickr8k.token.txt", split="test")


def test_a_missing_picture_and_a_broken_line_are_reported_and_the_rest_is_read(tmp_path):
    pictures(tmp_path)
    # The real file has this name, of a picture that does not exist.
    lines = f"2258277193_586949ec62.jpg.1#0\tsome one\n{TOKENS}no tab\n\n"
    (tmp_path / "Flickr8k.token.txt").write_text(lines)
    found = list(read(str(tmp_path / "Flickr8k.token.txt")))
    assert [type(s) for s in found] == [Skipped, Skipped, Sample, Sample]
    # Broken lines come first: pictures wait for their last caption.
    assert [s.reason for s in found if isinstance(s, Skipped)] == [
        "row 5: no picture, number and caption",
        "row 1: no such file",
    ]


def test_quotes_and_bars_within_a_caption_stay(tmp_path):
    pictures(tmp_path)
    said = f'image_name| comment_number| comment\n{DOGS}| 0| "Stop | go" , it says\n'
    (tmp_path / "results.csv").write_text(said)
    assert captions(tmp_path / "results.csv") == {DOGS: ('"Stop | go" , it says',)}


def test_other_lists_of_paths_and_tables_are_read_as_before(tmp_path):
    pictures(tmp_path)
    (tmp_path / "list.txt").write_text(f"{CHILD}\n{DOGS}\n")
    (tmp_path / "t.csv").write_text(f"image,caption,split\n{DOGS},two dogs,test\n")
    assert captions(tmp_path / "list.txt") == {CHILD: (), DOGS: ()}
    assert captions(tmp_path / "t.csv", split="test") == {DOGS: ("two dogs",)}


def test_a_pattern_may_name_caption_files(tmp_path):
    pictures(tmp_path)
    (tmp_path / "a.token").write_text(TOKENS)
    assert captions(tmp_path / "*.token") == CAPTIONS
