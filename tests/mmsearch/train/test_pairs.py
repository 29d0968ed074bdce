"""What is trained on and measured on, by the source's own splits or by chance."""

import json
from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.train.pairs import train_and_heldout


def dataset(folder: Path, kind: str) -> str:
    """Write a data set of 20 pictures with a caption each, in a format without splits."""
    for n in range(20):
        (folder / f"{n}.jpg").write_text(str(n))
    path = folder / "data.json"
    numbers = range(20)
    box = {"x": 0, "y": 0, "width": 1, "height": 1}
    content: object = {
        "coco": {
            "images": [{"id": n, "file_name": f"{n}.jpg"} for n in numbers],
            "annotations": [{"image_id": n, "caption": f"c{n}"} for n in numbers],
        },
        "genome": [{"id": n, "regions": [{"phrase": f"c{n}", **box}]} for n in numbers],
        "gqa": {
            f"q{n}": {"imageId": str(n), "question": "?", "fullAnswer": f"c{n}"} for n in numbers
        },
    }[kind]
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("kind", ["coco", "genome", "gqa"])
def test_a_data_set_that_is_one_split_is_divided(tmp_path, kind):
    path = dataset(tmp_path, kind)
    train, heldout = train_and_heldout([path], share=0.4, seed=1)
    assert (len(train), len(heldout)) == (12, 8)
    assert sorted(train.texts + heldout.texts) == sorted(f"c{n}" for n in range(20))


def test_a_split_that_a_source_with_splits_lacks_is_not_made_up(tmp_path):
    (tmp_path / "a.jpg").write_text("x")
    table = tmp_path / "t.csv"
    table.write_text("image,caption,split\n" + "a.jpg,x,train\n")
    with pytest.raises(BadSource, match="training needs"):
        train_and_heldout([str(table)], share=0.4, seed=1)
