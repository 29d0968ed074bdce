"""What is read from the EXIF: dates, cameras, positions; garbage is left out."""

from __future__ import annotations

import pytest
from PIL import Image

from mmsearch.images import open_picture
from tests.mmsearch.pictures import encoded, photo


def exif_jpeg(gps: dict[int, object] | None = None, **tags: object) -> bytes:
    exif = Image.Exif()
    detail = exif.get_ifd(0x8769)
    names = {"make": 0x010F, "model": 0x0110, "modified": 0x0132}
    for name, value in tags.items():
        if name in names:
            exif[names[name]] = value
        else:
            detail[{"taken": 0x9003, "lens": 0xA434}[name]] = value
    if gps:
        exif[0x8825] = gps
    return encoded(photo(16, 16), "JPEG", exif=exif)


def test_date_camera_lens_and_position_come_from_the_exif():
    meta = open_picture(
        exif_jpeg(
            {1: "S", 2: (33.0, 51.0, 24.0), 3: "E", 4: (151.0, 12.0, 36.0)},
            make="Canon", model="Canon EOS 5D", lens="EF 50mm\0junk", taken="2019:07:14 16:20:31",
        )
    ).meta  # fmt: skip
    assert meta["taken"] == "2019-07-14T16:20:31"
    assert meta["camera"] == "Canon EOS 5D"
    assert meta["lens"] == "EF 50mm"
    assert meta["lat"] == pytest.approx(-33.8566667)
    assert meta["lon"] == pytest.approx(151.21)


def test_garbage_in_the_exif_is_left_out():
    gps = {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)}
    meta = open_picture(exif_jpeg(gps, taken="0000:00:00 00:00:00", make="\x07 ")).meta
    assert meta == {"width": 16, "height": 16, "format": "JPEG"}


def test_a_second_choice_of_date_is_the_files_own():
    meta = open_picture(exif_jpeg(taken="garbage", modified="2001:02:03 04:05:06")).meta
    assert meta["taken"] == "2001-02-03T04:05:06"
