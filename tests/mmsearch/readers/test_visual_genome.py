"""Visual Genome's region descriptions: entries as release 1.4 has them."""

import json
from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers import read
from mmsearch.readers.visual_genome import Region, read_regions
from mmsearch.types import Sample, Skipped


def region(number: int, phrase: str, picture: int = 1) -> dict[str, object]:
    return {
        "region_id": number, "width": 82, "height": 139, "image_id": picture, "phrase": phrase,
        "y": 57, "x": 421,
    }  # fmt: skip


REGIONS = [
    {
        "regions": [
            region(1382, "the clock is green in colour"),
            region(1383, " shade is along the street "),
            region(1384, "The clock is green in colour"),
            {"region_id": 1385, "phrase": None},
            "broken",
        ],
        "id": 1,
    },
    {"regions": [region(7, "a sidewalk", 2)], "id": 2},
    {"regions": [region(8, "lost", 3)], "id": 3},
    {"regions": [region(9, "nobody's", 4)]},
    {"regions": [], "id": 5},
]
IMAGE_DATA = [
    {
        "width": 800, "url": "https://example.org/VG_100K_2/1.jpg", "height": 600, "image_id": 1,
        "coco_id": None, "flickr_id": 4321,
    }
]  # fmt: skip


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    for name in ("VG_100K_2/1.jpg", "VG_100K/2.jpg", "VG_100K/5.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    path = tmp_path / "region_descriptions.json"
    path.write_text(json.dumps(REGIONS))
    return path


def test_the_phrases_of_its_regions_are_the_captions_of_a_picture(genome):
    found = [s for s in read(str(genome)) if isinstance(s, Sample)]
    assert [(Path(s.path).parent.name, s.captions) for s in found] == [
        ("VG_100K_2", ("the clock is green in colour", "shade is along the street")),
        ("VG_100K", ("a sidewalk",)),
        ("VG_100K", ()),
    ]
    assert [s.item.meta["id"] for s in found] == [1, 2, 5]


def test_missing_pictures_and_entries_without_an_id_are_reported(genome):
    reasons = [s.reason for s in read(str(genome)) if isinstance(s, Skipped)]
    assert reasons == ["image 3: no such file", "image 4: no id"]


def test_what_image_data_says_becomes_meta(genome):
    (genome.parent / "image_data.json").write_text(json.dumps(IMAGE_DATA))
    first = next(iter(read(str(genome))))
    assert isinstance(first, Sample)
    meta = first.item.meta
    assert (meta["flickr_id"], meta["url"]) == (4321, "https://example.org/VG_100K_2/1.jpg")
    assert not {"coco_id", "width", "image_id"} & meta.keys()  # null; the file's own; id
    (genome.parent / "image_data.json").write_text("{oops")
    with pytest.raises(BadSource, match=r"image_data.json is no JSON"):
        list(read(str(genome)))


def test_the_boxes_of_the_regions_can_be_read(genome):
    number, regions = next(read_regions(str(genome)))
    assert number == 1
    assert regions[0] == Region("the clock is green in colour", 421, 57, 82, 139)
    assert len(regions) == 3  # repeats too: their boxes may differ
    assert [n for n, _ in read_regions(str(genome))] == [1, 2, 3, 5]


def test_visual_genome_has_no_splits(genome):
    with pytest.raises(BadSource, match="no splits: Visual Genome is one"):
        list(read(str(genome), split="test"))


def test_a_file_that_was_cut_short_gives_what_comes_before(genome):
    text = genome.read_text()
    genome.write_text(text[: text.index('"id": 2')])
    found = read(str(genome))
    assert isinstance(next(found), Sample)
    with pytest.raises(BadSource, match=r"no JSON: .* at character"):
        next(found)
