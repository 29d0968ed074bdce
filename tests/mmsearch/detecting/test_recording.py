"""Files of regions: one for each picture, made once, never another picture's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from PIL import Image  # noqa: E402

from mmsearch import read  # noqa: E402
from mmsearch.detecting.detector import Detector  # noqa: E402
from mmsearch.detecting.recording import RegionReport, write_all  # noqa: E402
from mmsearch.errors import BadRegions  # noqa: E402
from mmsearch.images import open_picture  # noqa: E402
from mmsearch.region_files import RegionFiles  # noqa: E402
from tests.conftest import shared_data  # noqa: E402
from tests.mmsearch.detecting.models import network, photographs  # noqa: E402


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(network(), "random", boxes=6)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photographs, a file that is none, and a caption."""
    (tmp_path / "photos").mkdir()
    for n, path in enumerate(photographs()):
        shutil.copy(path, tmp_path / "photos" / f"{n}.jpg")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "0.txt").write_text("a caption")
    return tmp_path / "photos"


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def names(report: RegionReport) -> list[str]:
    return [Path(one.key).name for one in report.skipped]


def test_every_picture_that_opens_gets_a_file_that_rerankers_read(
    photos: Path, tmp_path: Path, detector: Detector
) -> None:
    report = write_all(read(str(photos)), detector, tmp_path / "new" / "out", threads=2)
    assert (report.made, report.there, names(report)) == (4, 0, ["broken.jpg"])
    files = RegionFiles(tmp_path / "new" / "out")
    for n in range(4):
        image = open_picture(photos / f"{n}.jpg").image
        regions, found = files.of(str(n)), detector.find(image)
        assert regions is not None
        assert regions.size == image.size
        assert regions.features.tolist() == found.features.tolist()
        np.testing.assert_allclose(regions.boxes, found.boxes * [*image.size, *image.size])
        with np.load(regions.path) as arrays:
            assert arrays["scores"].tolist() == found.scores.tolist()
    assert sorted(times(tmp_path / "new" / "out")) == [f"{n}.npz" for n in range(4)]


def test_boxes_are_of_the_upright_picture(tmp_path: Path, detector: Detector) -> None:
    turned = shared_data("messy") / "exif_rotated" / "Landscape_6.jpg"
    upright = open_picture(turned).image
    with Image.open(turned) as image:
        assert upright.size == image.size[::-1]  # its file is turned by 90 degrees
    upright.save(tmp_path / "upright.png")
    for path in (turned, tmp_path / "upright.png"):
        assert write_all(read(str(path)), detector, tmp_path / "out").made == 1
    files = RegionFiles(tmp_path / "out")
    one, other = files.of("Landscape_6"), files.of("upright")
    assert one is not None
    assert other is not None
    assert one.size == other.size == upright.size
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def test_what_is_there_is_not_made_again(photos: Path, tmp_path: Path, detector: Detector) -> None:
    out = tmp_path / "out"
    write_all(read(str(photos)), detector, out)
    before = times(out)
    report = write_all(read(str(photos)), detector, out)
    assert (report.made, report.there, names(report)) == (0, 4, ["broken.jpg"])
    assert times(out) == before
    (photos / "1.txt").write_text("now with a caption")  # its stamp differs, its pixels do not
    shutil.copy(photographs()[0], photos / "2.jpg")
    report = write_all(read(str(photos)), detector, out)
    assert (report.made, report.there) == (1, 3)
    assert [name for name in before if times(out)[name] != before[name]] == ["2.npz"]
    report = write_all(read(str(photos)), detector, out, force=True)
    assert (report.made, report.there) == (4, 0)


def test_a_run_that_was_interrupted_goes_on(
    photos: Path, tmp_path: Path, detector: Detector
) -> None:
    def interrupt(report: RegionReport) -> None:
        if report.made == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all(read(str(photos)), detector, tmp_path / "out", progress=interrupt)
    assert len(times(tmp_path / "out")) == 2
    report = write_all(read(str(photos)), detector, tmp_path / "out")
    assert (report.made, report.there) == (2, 2)


@pytest.mark.parametrize("runs", [1, 2])
def test_pictures_of_one_name_do_not_share_a_file(
    photos: Path, tmp_path: Path, detector: Detector, runs: int
) -> None:
    (photos / "broken.jpg").unlink()
    (photos / "trip").mkdir()
    shutil.copy(photos / "1.jpg", photos / "trip" / "0.jpg")  # another picture, a name in use
    shutil.copy(photos / "2.jpg", photos / "trip" / "2.jpg")  # a copy: its regions are right
    out = tmp_path / "out"
    if runs == 2:
        (photos / "trip").rename(tmp_path / "trip")
        write_all(read(str(photos)), detector, out)
        first, second = photos, tmp_path / "trip"
        report = write_all(read(str(second)), detector, out)
        assert (report.made, report.there) == (0, 1)
    else:
        first, second = photos, photos / "trip"
        report = write_all(read(str(photos)), detector, out)
        assert (report.made, report.there) == (4, 1)
    (told,) = report.skipped
    assert told.key == str(second / "0.jpg")
    assert f"{first / '0.jpg'} has its name" in told.reason
    image = open_picture(first / "0.jpg").image
    regions = RegionFiles(out).of("0")
    assert regions is not None
    assert regions.features.tolist() == detector.find(image).features.tolist()


@pytest.mark.parametrize("force", [False, True])
def test_nor_do_pictures_that_differ_in_their_ending(
    photos: Path, tmp_path: Path, detector: Detector, force: bool
) -> None:
    image = open_picture(photos / "1.jpg").image
    image.save(photos / "0.png")
    for made in (3, 3) if force else (3, 0):
        paths = [photos / name for name in ("0.jpg", "0.png", "1.jpg", "2.jpg")]
        found = (one for path in paths for one in read(str(path)))
        report = write_all(found, detector, tmp_path / "out", force=force, threads=2)
        assert (report.made, names(report)) == (made, ["0.png"])
    regions = RegionFiles(tmp_path / "out").of("0")
    wanted = detector.find(open_picture(photos / "0.jpg").image)
    assert regions is not None
    assert regions.features.tolist() == wanted.features.tolist()


def test_pictures_that_moved_keep_their_files(
    photos: Path, tmp_path: Path, detector: Detector
) -> None:
    write_all(read(str(photos)), detector, tmp_path / "out")
    photos.rename(tmp_path / "moved")
    report = write_all(read(str(tmp_path / "moved")), detector, tmp_path / "out")
    assert (report.made, report.there, names(report)) == (0, 4, ["broken.jpg"])


def test_files_of_another_detector_are_neither_mixed_nor_lost(
    photos: Path, tmp_path: Path, detector: Detector
) -> None:
    out = tmp_path / "out"
    write_all(read(str(photos)), detector, out)
    before = times(out)
    for other in (Detector(network(), "another", boxes=6), Detector(network(), "random", boxes=7)):
        with pytest.raises(BadRegions, match=r"made by random, 6 boxes, and this is .*--force"):
            write_all(read(str(photos)), other, out)
    assert times(out) == before


def test_files_that_something_else_wrote_stay(
    photos: Path, tmp_path: Path, detector: Detector
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    np.savez(out / "0.npz", features=np.ones((1, 2048)), boxes=[[0, 0, 9, 9]], size=(64, 48))
    (out / "1.npz").write_bytes(b"torn")
    before = times(out)
    report = write_all(read(str(photos)), detector, out)
    assert (report.made, report.there, names(report)) == (2, 1, ["1.jpg", "broken.jpg"])
    assert "--force makes it anew" in report.skipped[0].reason
    assert {name: times(out)[name] for name in before} == before
    assert write_all(read(str(photos)), detector, out, force=True).made == 4


def test_a_name_that_is_too_long_for_a_file_is_told(tmp_path: Path, detector: Detector) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("n" * 250, "n" * 246, "short"):
        shutil.copy(photographs()[0], photos / f"{name}.jpg")
    report = write_all(read(str(photos)), detector, tmp_path / "out")
    assert (report.made, len(report.skipped)) == (1, 2)
    assert all("File name too long" in one.reason for one in report.skipped)
    assert list(times(tmp_path / "out")) == ["short.npz"]
