import json
from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers.dataset import read_dataset
from mmsearch.types import Sample, Skipped

KARPATHY = {
    "images": [
        {
            "filename": "a.jpg", "split": "train", "category": "dogs", "width": 1, "sentids": [0],
            "sentences": [{"raw": "a dog"}, {"tokens": ["two", "dogs"]}, {"raw": " "}, "a pet"],
        },
        {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "a cat"}]},
        {"filename": "missing.jpg", "split": "test", "sentences": []},
        {"split": "test"},
    ]
}  # fmt: skip
COCO = {
    "images": [{"id": 7, "file_name": "a.jpg", "license": 3}, {"id": 8, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 8, "caption": "a cat"},
        {"image_id": 7, "caption": "a dog\n"},
        {"image_id": 7, "bbox": [0, 0, 1, 1]},
        {"image_id": 8, "caption": "a kitten"},
        {"image_id": 9, "caption": "nothing"},
    ],
}


def write(path: Path, data: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8-sig")
    return str(path)


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_text(name)
    return folder


def captions(path: str, **options: str) -> list[tuple[str, tuple[str, ...]]]:
    found = read_dataset(path, **options)
    return [(Path(s.path).name, s.captions) for s in found if isinstance(s, Sample)]


def test_a_karpathy_file_gives_every_picture_with_its_sentences(tmp_path):
    pictures(tmp_path)
    found = list(read_dataset(write(tmp_path / "dataset.json", KARPATHY)))
    dog = found[0]
    assert isinstance(dog, Sample)
    assert dog.captions == ("a dog", "two dogs", "a pet")
    assert dog.item.meta["split"] == "train"
    assert dog.item.meta["category"] == "dogs"
    assert not {"width", "sentids", "filename"} & dog.item.meta.keys()
    assert [s.reason for s in found if isinstance(s, Skipped)] == [
        "image 3: no such file",
        "image 4: no filename",
    ]


def test_one_split_of_a_karpathy_file_can_be_read(tmp_path):
    path = write(pictures(tmp_path) / "dataset.json", KARPATHY)
    assert captions(path, split="test") == [("b.jpg", ("a cat",))]
    assert [name for name, _ in captions(path, split="train,test")] == ["a.jpg", "b.jpg"]
    with pytest.raises(BadSource, match="no split 'val'; it has test, train"):
        captions(path, split="val")


def test_a_karpathy_filepath_is_the_folder_of_the_picture(tmp_path):
    pictures(tmp_path / "val2014")
    data = {"images": [{"filepath": "val2014", "filename": "a.jpg", "sentences": []}]}
    assert captions(write(tmp_path / "dataset_coco.json", data)) == [("a.jpg", ())]


@pytest.mark.parametrize(
    "folder", [".", "images", "train2014", "..", "../val2017", "../images/train2014"]
)
def test_coco_captions_find_their_pictures_in_the_usual_folders(tmp_path, folder):
    path = write(tmp_path / "annotations" / "captions.json", COCO)
    pictures(tmp_path / "annotations" / folder)
    assert captions(path) == [("a.jpg", ("a dog",)), ("b.jpg", ("a cat", "a kitten"))]


def test_a_coco_file_is_one_split(tmp_path):
    path = write(pictures(tmp_path) / "c.json", COCO)
    with pytest.raises(BadSource, match="a COCO file is one"):
        captions(path, split="val")
    first = next(iter(read_dataset(path)))
    assert isinstance(first, Sample)
    assert (first.item.meta["id"], first.item.meta["license"]) == (7, 3)


def test_a_list_of_records_is_read_like_a_table(tmp_path):
    data = [{"image": "a.jpg", "caption": ["a dog", "a pet"]}, 3, {"text": "words"}]
    found = list(read_dataset(write(pictures(tmp_path) / "train.json", data)))
    assert [s.captions for s in found if isinstance(s, Sample)] == [("a dog", "a pet"), ()]
    assert [s.reason for s in found if isinstance(s, Skipped)] == ["row 2: not an object"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"files": []}, r"expected .*Karpathy.*COCO"),
        ({"images": []}, r"expected"),
        ({"images": ["a.jpg"]}, r"expected"),
        ([], r"expected"),
        ("3", r"expected"),
        ("{oops", r"is no JSON"),
        ('{"a": 1}\n{"a": 2}\n', r"name it \.jsonl"),
        ("[" * 100_000, r"is no JSON"),
    ],
)
def test_another_structure_is_a_bad_source_that_says_what_was_expected(tmp_path, data, message):
    with pytest.raises(BadSource, match=message):
        list(read_dataset(write(tmp_path / "x.json", data)))


def test_fields_of_the_wrong_type_cost_one_picture_at_most(tmp_path):
    pictures(tmp_path)
    karpathy = {"images": [
        {"filename": "a.jpg", "sentences": [3, None, {"raw": 5}, {"tokens": 5}, {"raw": "ok"}]},
        {"filename": 3}, None, {"filename": "b.jpg", "sentences": "no list", "filepath": 4},
    ]}  # fmt: skip
    assert captions(write(tmp_path / "k.json", karpathy)) == [("a.jpg", ("ok",)), ("b.jpg", ())]
    coco = {
        "images": [{"id": [1], "file_name": "a.jpg"}, {"id": 1, "file_name": None}],
        "annotations": [None, {"image_id": [1], "caption": "x"}, {"image_id": 1, "caption": 2}],
    }
    assert captions(write(tmp_path / "c.json", coco)) == [("a.jpg", ())]
