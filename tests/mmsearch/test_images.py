"""Opening pictures: every sound file ends upright, every bad one as a reason."""

from __future__ import annotations

import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import images
from mmsearch.errors import BadPicture
from mmsearch.images import is_picture_name, open_picture
from tests.conftest import shared_data
from tests.mmsearch.pictures import encoded, photo

RED, WHITE = (255, 0, 0), (255, 255, 255)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and has one empty row of data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


# --- meta and orientation ---------------------------------------------------------------------


def test_a_plain_picture_comes_back_as_it_was_with_its_size_and_format():
    picture = open_picture(encoded(photo(40, 30), "PNG"))
    assert picture.meta == {"width": 40, "height": 30, "format": "PNG"}
    assert np.array_equal(picture.image, photo(40, 30))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_ends_upright(turn: int, form: str):
    # What a camera stores is what the orientation's own turn makes upright: undo it first.
    undone = {5: 5, 6: 8, 7: 7, 8: 6}.get(turn, turn)
    upright = Image.new("RGB", (32, 16), WHITE)
    upright.paste(RED, (0, 0, 8, 8))
    stored = upright.transpose(images._TURNS[undone]) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if form == "WEBP" else {}
    picture = open_picture(encoded(stored, form, exif=exif, **options))
    assert (picture.meta["width"], picture.meta["height"]) == picture.image.size == (32, 16)
    difference = np.asarray(picture.image).astype(int) - np.asarray(upright).astype(int)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("value", [0, 9, 99])
def test_an_orientation_out_of_range_is_ignored(value: int):
    exif = Image.Exif()
    exif[0x0112] = value
    picture = open_picture(encoded(photo(32, 16), "JPEG", exif=exif))
    assert (picture.meta["width"], picture.meta["height"]) == picture.image.size == (32, 16)


def test_the_result_does_not_turn_again_for_who_looks_at_its_exif():
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = open_picture(encoded(photo(32, 16), "TIFF", exif=exif))
    assert not picture.image.getexif()
    assert picture.image.info == {}


# --- formats and names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "PCX", "DDS",
     "SGI", "ICO", "QOI"],
)  # fmt: skip
def test_common_formats_open(form: str):
    assert open_picture(encoded(photo(32, 32), form)).image.size == (32, 32)


def test_content_decides_and_not_the_name(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(photo(8, 8), "PNG"))
    assert open_picture(path).meta["format"] == "PNG"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a name")
def test_a_name_that_is_no_utf_8_opens(tmp_path: Path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    Path(os.fsdecode(name)).write_bytes(encoded(photo(8, 8), "PNG"))
    assert open_picture(os.fsdecode(name)).image.size == (8, 8)


def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = BytesIO()
    pillow_heif.from_pillow(photo(64, 48)).save(file, quality=90)
    return file.getvalue()


def test_heic_opens_where_its_extra_is_installed():
    picture = open_picture(heic())
    assert picture.meta == {"width": 64, "height": 48, "format": "HEIF"}
    assert np.abs(np.asarray(picture.image) - np.asarray(photo(64, 48)).astype(int)).mean() < 4


def test_heic_without_its_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(BadPicture, match=r"pip install 'mmsearch\[heic\]'"):
        open_picture(data)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "b.HeIc", "._c.webp", "x.tar.tiff", "a.eps"])
def test_names_of_pictures_are_tried(name: str):
    assert is_picture_name(name)


@pytest.mark.parametrize(
    "name", ["jpg", ".jpg", "a.txt", "Thumbs.db", ".DS_Store", "a.svg", "a.mp4", "a.xmp", "a.fits"]
)
def test_other_names_are_not_tried(name: str):
    assert not is_picture_name(name)


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a picture"),
        (b"\0" * 5000, "not a picture"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS pictures are refused"),
        (b"SIMPLE  =                    T", "FITS pictures are refused"),
        (encoded(photo(64, 64), "JPEG")[:-200], "cut short"),
        (encoded(photo(64, 64), "PNG")[:-200], "cut short"),
        (png_header(30_000, 30_000), "900.0 megapixels; the limit is 179.0"),
        (png_header(12_000, 9_000), "claims 12000 x 9000 pixels in a file of only"),
    ],
)
def test_a_bad_file_has_a_reason(data: bytes, reason: str):
    with pytest.raises(BadPicture, match=reason):
        open_picture(data)


def test_the_pixel_limit_names_the_size_and_itself():
    data = encoded(photo(40, 30), "PNG")
    assert open_picture(data, max_pixels=1200).image.size == (40, 30)
    with pytest.raises(BadPicture, match=r"40 x 30 = 0\.0 megapixels; the limit is 0\.0"):
        open_picture(data, max_pixels=1199)


def test_a_tiny_webp_that_claims_a_gigabyte_is_refused():
    # RIFF, VP8L: the signature byte, then width-1 and height-1 in 14 bits each.
    claim = struct.pack("<BI", 0x2F, 16382 | 10899 << 14)
    body = b"WEBPVP8L" + struct.pack("<I", len(claim) + 9) + claim + b"\0" * 9
    with pytest.raises(BadPicture, match="claims 16383 x 10900 pixels in a file of only 34 bytes"):
        open_picture(b"RIFF" + struct.pack("<I", len(body)) + body)


def test_a_run_length_bmp_that_claims_more_than_its_code_can_hold_is_refused():
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 0, 0, 1078, 40, 6000, 5000, 1, 8, 1, *[0] * 5)
    with pytest.raises(BadPicture, match="claims 6000 x 5000 pixels"):
        open_picture(head + b"\0" * 1024 + b"\0\1")


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "GIF"])
def test_a_blank_page_of_20_megapixels_is_not_taken_for_a_bomb(form: str):
    data = encoded(Image.new("L", (5000, 4000), 255), form)
    assert open_picture(data, target=64).meta["width"] == 5000


def many_scans(times: int, *, tail: bytes = b"") -> bytes:
    """Return a progressive JPEG with its last scan repeated."""
    data = encoded(photo(32, 32), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + b"\xff\xd9" + tail


def test_a_jpeg_of_more_than_100_scans_is_refused():
    scans = images._scans(many_scans(0))
    assert scans == 10
    assert open_picture(many_scans(100 - scans)).image.size == (32, 32)
    with pytest.raises(BadPicture, match="more than 100 scans"):
        open_picture(many_scans(101 - scans))


def test_scan_marks_behind_the_end_of_a_jpeg_do_not_count():
    assert open_picture(many_scans(0, tail=b"\0\2" + b"\xff\xda\0\2" * 500)).image.size == (32, 32)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "not a regular file")]
)
def test_no_file_to_read_is_a_reason_without_the_path(name: str, reason: str, tmp_path: Path):
    with pytest.raises(BadPicture) as caught:
        open_picture(tmp_path / name)
    assert str(caught.value) == reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadPicture, match="not a regular file"):
        open_picture(tmp_path / "pipe.jpg")


def test_mutations_decode_or_have_a_reason():
    rng = np.random.default_rng(7)
    forms = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "TGA", "PCX", "ICO")
    refused = 0
    for form in forms:
        whole = np.frombuffer(encoded(photo(24, 24), form), np.uint8)
        for _ in range(30):
            data = whole.copy()
            at = rng.integers(0, len(data), 4)
            data[at] = rng.integers(0, 256, 4)
            try:
                assert open_picture(data.tobytes(), target=8).image.mode == "RGB"
            except BadPicture:
                refused += 1
    assert refused > 30


# --- targets, memory, threads -----------------------------------------------------------------


def test_draft_halves_a_jpeg_but_never_below_twice_the_target_on_the_short_side():
    data = encoded(photo(1600, 900), "JPEG", quality=90)
    sizes = {target: open_picture(data, target=target).image.size for target in (50, 200, 224, 500)}
    assert sizes == {50: (200, 113), 200: (800, 450), 224: (800, 450), 500: (1600, 900)}
    meta = open_picture(data, target=50).meta
    assert (meta["width"], meta["height"]) == (1600, 900)


def test_meta_of_a_drafted_and_turned_jpeg_is_upright_and_full():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = open_picture(encoded(photo(1600, 900), "JPEG", exif=exif), target=100)
    assert (picture.meta["width"], picture.meta["height"]) == (900, 1600)
    assert picture.image.size == (225, 400)


def scaled_difference(data: bytes) -> float:
    """Return mean grey levels between a drafted and a whole decode, each scaled to 224."""
    whole, draft = open_picture(data).image, open_picture(data, target=224).image
    assert draft.size < whole.size
    size = (224 * whole.width // min(whole.size), 224 * whole.height // min(whole.size))
    bicubic = Image.Resampling.BICUBIC
    one, other = (np.asarray(image.resize(size, bicubic), float) for image in (whole, draft))
    return float(np.abs(one - other).mean())


def test_draft_changes_a_scaled_picture_by_less_than_0_6_grey_levels():
    assert scaled_difference(encoded(photo(2000, 1500), "JPEG", quality=92)) < 0.6


def test_draft_changes_a_real_photo_by_less_than_0_6_grey_levels():
    folder = shared_data("flickr8k")
    paths = sorted(folder.glob("test/*.jpg"))[:4]
    # Real texture at a camera's size: four photos side by side, twice enlarged.
    mosaic = Image.new("RGB", (1800, 1344))
    for place, path in enumerate(paths):
        tile = open_picture(path).image.resize((900, 672), Image.Resampling.LANCZOS)
        mosaic.paste(tile, (place % 2 * 900, place // 2 * 672))
    assert scaled_difference(encoded(mosaic, "JPEG", quality=92)) < 0.6


def corrupt_exif_tiff() -> bytes:
    """Return a picture at which Pillow warns (of a corrupt EXIF block)."""
    return encoded(photo(8, 8), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0" + b"\xff" * 20)


def test_no_warning_of_pillows_leaks_from_any_thread():
    data = [corrupt_exif_tiff(), encoded(photo(8, 8), "PNG"), encoded(photo(8, 8), "TIFF")[:-9]]

    def decode(number: int) -> str:
        try:
            return str(open_picture(data[number % 3]).image.size)
        except BadPicture:
            return "bad"

    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("always")
        results = list(pool.map(decode, range(300)))
    assert results == ["(8, 8)", "(8, 8)", "bad"] * 100
    assert caught == []


def test_only_warnings_raised_while_decoding_are_silenced():
    data = corrupt_exif_tiff()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_picture(data)
        assert caught == []
        Image.open(BytesIO(data)).getexif()
    assert ["Corrupt EXIF" in str(warning.message) for warning in caught] == [True]


def test_pillows_own_bomb_warning_does_not_leak(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # warns from 1001 pixels, refuses at 2001
    assert open_picture(encoded(photo(40, 30), "PNG")).image.size == (40, 30)
    with pytest.raises(BadPicture, match="megapixels; the limit is"):
        open_picture(encoded(photo(50, 50), "PNG"))
