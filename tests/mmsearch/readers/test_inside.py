"""Pictures inside zips, documents, films, animations and raw files; and hostile ones of these."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index_store import Collection, Compare
from mmsearch import Encoder, ingest, isolation, read, roots
from mmsearch.errors import BadPicture, MissingExtra
from mmsearch.images import open_picture
from mmsearch.sources import open_source
from mmsearch.types import Sample, Skipped
from tests.mmsearch.conftest import paint
from tests.mmsearch.readers.dng import dng
from tests.mmsearch.test_xmp import keywords_xmp

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def png(color: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def samples(path: Path, **options) -> list[Sample]:
    return [s for s in read(str(path), **options) if isinstance(s, Sample)]


def reasons(path: Path, **options) -> list[str]:
    return [s.reason for s in read(str(path), **options) if isinstance(s, Skipped)]


def colors(found: list[Sample]) -> list[tuple[int, ...]]:
    """Return the middle pixel of each, rounded: codecs change colours a little."""
    images = [open_picture(open_source(s.item.uri)).image for s in found]
    middles = [np.asarray(i)[i.height // 2, i.width // 2] for i in images]
    return [tuple(round(int(v) / 255) * 255 for v in middle) for middle in middles]


def marks(found: list[Sample]) -> list[str]:
    return [s.item.key.rpartition("#")[2] for s in found]


# -- zip -------------------------------------------------------------------------------------------


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.fixture
def comic(tmp_path: Path) -> Path:
    members = {"p/01.png": png(RED), "ü 2.png": png(BLUE), "info.xml": b"<x/>",
               "__MACOSX/p/01.png": b"junk"}  # fmt: skip
    return zip_of(tmp_path / "comic.cbz", members)


def test_the_pictures_of_a_zip_are_read_where_they_are(comic: Path) -> None:
    found = samples(comic)
    assert marks(found) == ["p/01.png", "ü 2.png"]
    assert [s.item.meta["name"] for s in found] == ["01.png", "ü 2.png"]
    assert colors(found) == [RED, BLUE]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_members_are_read(tmp_path: Path, method: int) -> None:
    assert colors(samples(zip_of(tmp_path / "a.zip", {"a.png": png(GREEN)}, method))) == [GREEN]


def test_a_zip_that_has_changed_is_noticed(comic: Path) -> None:
    red, _ = samples(comic)
    zip_of(comic, {"p/01.png": png(GREEN)})
    with pytest.raises(BadPicture, match="changed"):
        open_source(red.item.uri)
    comic.write_bytes(b"short")
    with pytest.raises(BadPicture, match="changed"):
        open_source(red.item.uri)


def test_members_that_lead_out_or_are_packed_strangely_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"../../a.png": b"1", "/b.png": b"1", "C:\\c.png": b"1"})
    assert reasons(path) == ["its name leads out of the zip"] * 3
    assert "method 14" in reasons(zip_of(path, {"a.png": b"1"}, zipfile.ZIP_LZMA))[0]


def test_an_encrypted_member_is_refused(comic: Path) -> None:
    raw = bytearray(comic.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # the flag in the directory's first entry
    comic.write_bytes(raw)
    assert reasons(comic) == ["it is encrypted"]
    assert marks(samples(comic)) == ["ü 2.png"]


def test_a_member_that_claims_less_than_it_holds_is_not_unpacked(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", {"a.png": b"\0" * 50_000_000})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2")
    raw[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(raw)
    (sample,) = samples(path)
    with pytest.raises(BadPicture, match="damaged in the zip"):
        open_source(sample.item.uri)


def test_a_zip_bomb_is_refused_as_a_whole(tmp_path: Path) -> None:
    """As in David Fifield's: many entries of the directory name one member."""
    packed = b"never looked at"
    head = struct.pack("<4sHHHIIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, len(packed), 200_000_000, 5, 0)
    entries = b"".join(
        struct.pack("<4sHHHHIIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, len(packed), 200_000_000,
                    5, 0, 0, 0, 0, 0, 0) + b"%d.png" % n
        for n in range(9)
    )  # fmt: skip
    body = head + b"0.png" + packed
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 9, 9, len(entries), len(body), 0)
    (tmp_path / "a.zip").write_bytes(body + entries + end)
    assert "a zip bomb" in reasons(tmp_path / "a.zip")[0]


@pytest.mark.parametrize("raw", [b"no zip at all", b"PK\3\4" + b"\0" * 60, b""])
def test_what_is_no_zip_is_reported(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(raw)
    assert ["no zip, or damaged" in r for r in reasons(tmp_path / "a.zip")] == [True]


# -- PDF, films, animations, raw files -------------------------------------------------------------


def pdf_of(path: Path, *pages: tuple[int, int, int]) -> Path:
    first, *others = [Image.new("RGB", (80, 60), color) for color in pages]
    first.save(path, save_all=True, append_images=others)
    return path


def film_of(path: Path, *seconds: tuple[int, int, int]) -> Path:
    """Write a film that shows each colour for a second; a keyframe every second."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 10
        for color in seconds:
            for _ in range(10):
                frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), color))
                film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path


def gif_of(path: Path, *frames: tuple[int, int, int]) -> Path:
    first, *others = [Image.new("RGB", (30, 20), color) for color in frames]
    first.save(path, save_all=True, append_images=others, duration=500)
    return path


def test_each_page_of_a_document_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    found = samples(pdf_of(tmp_path / "a.pdf", RED, GREEN, BLUE))
    assert marks(found) == ["page=1", "page=2", "page=3"]
    assert [s.item.meta["page"] for s in found] == [1, 2, 3]
    assert colors(found) == [RED, GREEN, BLUE]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_keyframes_of_a_film_are_pictures_with_their_times(tmp_path: Path, suffix: str) -> None:
    found = samples(film_of(tmp_path / f"a.{suffix}", *[RED, RED, GREEN, GREEN, BLUE, BLUE] * 2))
    assert [round(float(str(s.item.meta["t"]))) for s in found] == [0, 2, 4, 6, 8, 10]
    assert found[1].item.uri.endswith("#t=2")
    assert colors(found) == [RED, GREEN, BLUE] * 2


def test_a_long_film_gives_a_hundred_frames_at_most() -> None:
    from mmsearch.frames import thinned

    assert thinned([0, 0.5, 1, 2.5, 3, 7], 2, 100) == [0, 2.5, 7]
    many = thinned(range(10_000), 2, 100)
    assert (len(many), many[:3]) == (100, [0, 100, 200])


def test_the_other_frames_of_an_animation_are_read_on_demand(tmp_path: Path) -> None:
    path = gif_of(tmp_path / "a.gif", RED, GREEN, BLUE)
    assert [s.item.key for s in samples(path)] == [path.as_posix()]
    whole, *frames = samples(path, inside=["animation"])
    assert marks(frames) == ["t=0.5", "t=1"]
    assert colors([whole, *frames]) == [RED, GREEN, BLUE]


def test_folders_give_what_is_inside_only_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    zip_of(tmp_path / "a.zip", {"1.png": png(RED)})
    pdf_of(tmp_path / "b.pdf", RED)
    film_of(tmp_path / "c.mp4", RED)
    gif_of(tmp_path / "d.gif", RED, GREEN)
    paint(tmp_path / "e.png", "red")

    def names(found: list[Sample]) -> list[str]:
        return [s.item.key[len(str(tmp_path)) + 1 :] for s in found]

    assert names(samples(tmp_path)) == ["d.gif", "e.png"]
    assert ["--inside pdf" in r for r in reasons(tmp_path)] == [True]
    assert names(samples(tmp_path, inside=["zip"])) == ["d.gif", "e.png", "a.zip#1.png"]
    assert names(samples(tmp_path, inside=["all"])) == [
        "d.gif", "e.png", "a.zip#1.png", "b.pdf#page=1", "c.mp4#t=0", "d.gif#t=0.5",
    ]  # fmt: skip
    assert names(samples(tmp_path / "*.pdf")) == ["b.pdf#page=1"]
    assert names(samples(tmp_path / "*", inside=["video"])) == ["c.mp4#t=0", "d.gif", "e.png"]


@pytest.mark.parametrize("name", ["a.pdf", "a.mp4"])
def test_broken_documents_and_films_are_reported(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pypdfium2")
    pytest.importorskip("av")
    for raw in (
        b"",
        b"no such thing",
        b"%PDF-1.7\n" + b"\0" * 500,
        b"\0\0\0\x20ftypisom" + b"x" * 99,
    ):
        (tmp_path / name).write_bytes(raw)
        (reason,) = reasons(tmp_path / name)
        assert "damaged, or of a kind that cannot be read" in reason


def test_an_encrypted_document_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    body = pdf_of(tmp_path / "a.pdf", RED).read_bytes()
    entry = (
        b" /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"00" * 32 + b"> /U <"
        + b"11" * 32 + b"> >> /ID [<00> <00>] "
    )  # fmt: skip
    at = body.rindex(b"trailer")
    at = body.index(b"<<", at) + 2
    (tmp_path / "a.pdf").write_bytes(body[:at] + entry + body[at:])
    assert reasons(tmp_path / "a.pdf") == ["it is encrypted"]


def test_a_playlist_called_a_film_reads_no_other_file(tmp_path: Path) -> None:
    film_of(tmp_path / "secret.ts", RED)
    (tmp_path / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:10,\n{tmp_path}/secret.ts\n#EXT-X-ENDLIST\n")
    assert ["cannot be read" in r for r in reasons(tmp_path / "a.mp4")] == [True]
    (tmp_path / "a.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n")
    assert ["cannot be read" in r for r in reasons(tmp_path / "a.mp4")] == [True]


def test_a_decoder_that_dies_or_hangs_costs_one_file(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("pypdfium2")
    (sample,) = samples(pdf_of(tmp_path / "a.pdf", RED))
    for decoder in isolation._idle:
        assert decoder._process is not None
        decoder._process.kill()
    assert colors([sample]) == [RED]  # started anew
    monkeypatch.setattr(isolation, "SECONDS", 0.0)

    def until_late() -> None:
        while True:
            open_source(sample.item.uri)

    with pytest.raises(BadPicture, match="more than 0 seconds"):
        until_late()
    monkeypatch.undo()
    assert colors([sample]) == [RED]


def test_a_page_that_needs_too_much_memory_costs_one_file(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("pypdfium2")
    pytest.importorskip("resource")
    path = pdf_of(tmp_path / "a.pdf", RED)
    raw = path.read_bytes()
    # An image of 60,000 x 60,000 pixels, packed to next to nothing.
    data = zlib.compress(b"\0" * 60_000 * 1_000, 9)
    picture = (
        b"<< /Type /XObject /Subtype /Image /Width 60000 /Height 60000 /ColorSpace /DeviceRGB "
        b"/BitsPerComponent 8 /Filter /FlateDecode /Length %d >>\nstream\n" % len(data)
    ) + data + b"\nendstream"  # fmt: skip
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R "
        b"/Resources << /XObject << /I 5 0 R >> >> >>",
        b"<< /Length 26 >>\nstream\nq 100 0 0 100 0 0 cm /I Do\nendstream",
        picture,
    ]
    raw = b"%PDF-1.4\n"
    places = []
    for n, body in enumerate(objects, start=1):
        places.append(len(raw))
        raw += b"%d 0 obj\n%b\nendobj\n" % (n, body)
    table = b"".join(b"%010d 00000 n \n" % p for p in places)
    raw += b"xref\n0 6\n0000000000 65535 f \n" + table
    raw += b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % raw.rindex(b"xref\n0 6")
    path.write_bytes(raw)
    (sample,) = samples(path)
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(BadPicture):  # the picture is left out, or the page
        open_source(sample.item.uri)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(isolation, "is_installed", lambda sort: False)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "b.mp4").write_bytes(b"")
    for name, extra in (("a.pdf", "pdf"), ("b.mp4", "video")):
        with pytest.raises(MissingExtra, match=rf"mmsearch\[{extra}\]"):
            list(read(str(tmp_path / name)))


def test_the_picture_in_a_raw_file_is_read_upright(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    image = Image.new("RGB", (64, 48), RED)
    image.paste(BLUE, (0, 0, 64, 24))  # blue above
    file = io.BytesIO()
    image.save(file, "JPEG")
    (tmp_path / "a.dng").write_bytes(dng(file.getvalue(), flip=6))
    (tmp_path / "b.cr2").write_bytes(b"no raw file")
    found = samples(tmp_path)
    assert [(s.item.key, s.item.meta["format"]) for s in found] == [
        (f"{tmp_path}/a.dng", "RAW"), (f"{tmp_path}/b.cr2", "RAW"),
    ]  # fmt: skip
    upright = np.asarray(open_picture(open_source(found[0].item.uri)).image)
    assert upright.shape == (64, 48, 3)
    assert upright[32, 44, 2] > 200  # what was above is now on the right
    assert upright[32, 4, 0] > 200
    with pytest.raises(BadPicture, match="cannot be read"):
        open_source(found[1].item.uri)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())  # an export beside it
    assert [Path(s.item.key).name for s in samples(tmp_path)] == ["a.jpg", "b.cr2"]
    assert samples(tmp_path / "a.dng")[0].item.key == f"{tmp_path}/a.dng"


def test_a_table_may_name_a_raw_file(
    tmp_path: Path, encoder: Encoder, collection: Collection
) -> None:
    pytest.importorskip("rawpy")
    file = io.BytesIO()
    Image.new("RGB", (64, 48), RED).save(file, "JPEG")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.dng").write_bytes(dng(file.getvalue()))
    table = tmp_path / "pairs.csv"
    table.write_text("image,caption,stars\nphotos/a.dng,a red thing,3\n")
    report = run(table, encoder, collection)
    assert (report.added, report.captions, report.skipped) == (1, 1, [])
    key = f"{tmp_path}/photos/a.dng"
    (item,) = collection.get([key])
    assert (item.meta["stars"], item.meta["format"]) == (3, "RAW")
    assert collection.keys(Compare("kind", "=", "text")) == [f"{key}#caption-0"]
    # The folder knows it as the same picture, and nothing of the table.
    report = run(tmp_path / "photos", encoder, collection)
    assert (report.added, report.unchanged, collection.count("text")) == (0, 1, 1)


@pytest.mark.parametrize("names", [("a.dng.txt", "a.dng.xmp"), ("a.txt", "a.XMP")])
def test_what_lies_beside_a_raw_file_is_told_of_it(
    tmp_path: Path, encoder: Encoder, collection: Collection, names: tuple[str, str]
) -> None:
    pytest.importorskip("rawpy")
    file = io.BytesIO()
    Image.new("RGB", (64, 48), RED).save(file, "JPEG")
    (tmp_path / "a.dng").write_bytes(dng(file.getvalue()))
    text, sidecar = (tmp_path / name for name in names)
    text.write_text("a red thing\n")
    sidecar.write_bytes(keywords_xmp("Holiday"))
    assert samples(tmp_path) == samples(tmp_path / "a.dng")  # in its folder, and named itself
    report = run(tmp_path, encoder, collection)
    assert (report.added, report.captions) == (1, 1)
    key = f"{tmp_path}/a.dng"
    assert collection.get([key])[0].meta["keywords"] == ["Holiday"]
    assert [i.text for i in collection.get([f"{key}#caption-0"])] == ["a red thing"]
    assert run(tmp_path, encoder, collection).unchanged == 1
    text.unlink()
    sidecar.write_bytes(keywords_xmp("Holiday", "sea"))
    report = run(tmp_path, encoder, collection)
    assert (report.updated, report.reused) == (1, 1)  # not embedded again
    assert collection.get([key])[0].meta["keywords"] == ["Holiday", "sea"]
    assert collection.count("text") == 0
    (tmp_path / "captions.csv").write_text("file_name,caption,stars\na.dng,another,3\n")
    run(tmp_path, encoder, collection)
    assert collection.get([key])[0].meta["stars"] == 3
    assert [i.text for i in collection.get([f"{key}#caption-0"])] == ["another"]


# -- in a collection -------------------------------------------------------------------------------


def run(source: Path, encoder: Encoder, collection: Collection, **options):
    samples = read(str(source), **options)
    return ingest(samples, encoder, collection, roots=roots(str(source)))


def test_what_is_no_longer_inside_is_forgotten(
    tmp_path: Path, encoder: Encoder, collection: Collection
) -> None:
    pytest.importorskip("pypdfium2")
    (tmp_path / "in").mkdir()
    book = pdf_of(tmp_path / "in" / "a.pdf", RED, GREEN, BLUE)
    report = run(tmp_path / "in", encoder, collection, inside=["pdf"])
    assert report.added == 3
    assert run(tmp_path / "in", encoder, collection).removed == 0  # not looked into: nothing known
    assert run(tmp_path / "in", encoder, collection, inside=["pdf"]).unchanged == 3
    pdf_of(book, RED, GREEN)
    report = run(book, encoder, collection)
    assert (report.updated, report.reused, report.removed) == (2, 2, 1)
    book.write_bytes(b"broken now")
    report = run(book, encoder, collection)
    assert ([s.reason[:7] for s in report.skipped], collection.count()) == (["damaged"], 2)
    (tmp_path / "in" / "b.png").write_bytes(png(RED))
    book.unlink()
    assert run(tmp_path / "in", encoder, collection).removed == 2
    assert [Path(i.key).name for i in collection.get(collection.keys())] == ["b.png"]


def test_the_format_of_a_page_is_that_of_its_document(
    tmp_path: Path, encoder: Encoder, collection: Collection
) -> None:
    pytest.importorskip("pypdfium2")
    run(pdf_of(tmp_path / "a.pdf", RED), encoder, collection)
    (item,) = collection.get(collection.keys())
    assert (item.meta["format"], item.meta["page"], item.meta["name"]) == ("PDF", 1, "a.pdf")
