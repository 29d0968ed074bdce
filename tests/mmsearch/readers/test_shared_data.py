"""The readers on the real data sets, where these are at hand."""

import json
from pathlib import Path

import pytest

from mmsearch.readers import read
from mmsearch.types import Sample, Skipped

DATA = Path(__file__).parents[4] / "shared" / "data"


def data(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"the shared data set {name} is not here")
    return DATA / name


@pytest.mark.parametrize(
    ("name", "pictures", "test", "captions"),
    [
        ("flickr8k", 8000, 1000, {5}),
        ("rsicd", 2943, 1093, {5}),
        ("fashion", 3000, 500, {2}),
        ("openmoji", 2465, 300, {1, 2}),
        ("daquar", 854, 654, {0}),
    ],
)
def test_a_shared_data_set_is_read_whole(name, pictures, test, captions):
    path = str(data(name) / "dataset.json")
    found = list(read(path))
    assert all(isinstance(s, Sample) for s in found)
    assert len(found) == pictures
    assert {len(s.captions) for s in found if isinstance(s, Sample)} == captions
    assert sum(1 for _ in read(path, split="test")) == test


def test_of_the_messy_folder_pictures_are_listed_and_the_rest_is_not():
    folder = data("messy").resolve()
    manifest = json.loads((folder / "manifest.json").read_text())
    expected = {f["path"]: f["expect"] for f in manifest["files"]}
    samples, skipped = set(), {}
    for found in read(str(folder)):
        if isinstance(found, Sample):
            samples.add(Path(found.path).relative_to(folder).as_posix())
        else:
            assert isinstance(found, Skipped)
            skipped[Path(found.key).relative_to(folder).as_posix()] = found.reason
    assert samples | skipped.keys() <= expected.keys()
    assert not {path for path in samples if expected[path] == "skip"}
    wanted = {path for path, expect in expected.items() if expect != "skip"}
    assert not wanted - samples - skipped.keys()
    assert (
        {".svg", ".fits"}
        <= {Path(p).suffix for p in skipped}
        <= {".svg", ".eps", ".fits", ".icns", ".exr", ".hdr"}
    )
