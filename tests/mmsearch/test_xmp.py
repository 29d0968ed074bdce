"""Keywords, captions, ratings and the rest, from XMP, IPTC and EXIF, and from sidecars."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from index_store import Collection, Has
from mmsearch import Encoder, ingest, read
from mmsearch.images import open_picture, read_meta
from mmsearch.xmp import xmp_meta
from tests.mmsearch.conftest import paint
from tests.mmsearch.pictures import encoded, photo

# As Lightroom writes it: simple properties as attributes.
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmp:Rating="4" exif:DateTimeOriginal="2019-07-14T16:20:31.52+02:00"
    exif:GPSLatitude="48,51.4933N" exif:GPSLongitude="2,17,40.2W" exif:FocalLength="35/2"
    aux:Lens="EF 50mm" tiff:Make="Canon" tiff:Model="Canon EOS 5D">
   <exif:ISOSpeedRatings><rdf:Seq><rdf:li>200</rdf:li></rdf:Seq></exif:ISOSpeedRatings>
   <dc:subject><rdf:Bag><rdf:li>Beach</rdf:li><rdf:li>Café</rdf:li></rdf:Bag></dc:subject>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Greece|beach</rdf:li></rdf:Bag>
   </lr:hierarchicalSubject>
   <dc:title><rdf:Alt><rdf:li xml:lang="de">Strand</rdf:li>
    <rdf:li xml:lang="x-default">A beach</rdf:li></rdf:Alt></dc:title>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Two
   boats</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()

TOLD = {
    "taken": "2019-07-14T16:20:31", "offset": "+02:00", "camera": "Canon EOS 5D",
    "lens": "EF 50mm", "focal_mm": 17.5, "iso": 200, "rating": 4, "title": "A beach",
    "caption": "Two boats", "keywords": ["Beach", "Café", "Places", "Greece"],
    "lat": 48.8582217, "lon": -2.2945,
}  # fmt: skip


def keywords_xmp(*words: str) -> bytes:
    entries = "".join(f"<rdf:li>{w}</rdf:li>" for w in words)
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-'
        'rdf-syntax-ns#"><rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject>'
        f"<rdf:Bag>{entries}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def iptc_block(*records: tuple[int, str]) -> bytes:
    """Return a JPEG's APP13 segment with IPTC records, as Photoshop writes it."""
    data = b"".join(
        b"\x1c\x02" + bytes([number]) + len(text.encode()).to_bytes(2) + text.encode()
        for number, text in records
    )
    data += b"\0" * (len(data) % 2)
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(data).to_bytes(4) + data
    return b"\xff\xed" + (len(body) + 2).to_bytes(2) + body


def test_a_packet_says_all_that_it_holds() -> None:
    assert xmp_meta(PACKET) == TOLD


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_packet_is_found_in_each_format(form: str) -> None:
    options: dict[str, object] = {"xmp": PACKET}
    if form == "TIFF":
        options = {"tiffinfo": {700: PACKET}}
    if form == "PNG":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", PACKET.decode())
        options = {"pnginfo": info}
    picture = encoded(photo(16, 16), form, **options)
    meta = open_picture(picture).meta
    assert {n: meta.get(n) for n in TOLD} == TOLD
    assert read_meta(picture) == TOLD


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"<", b"\0" * 50, b"<a/>", PACKET[:-200], b"\xff\xfe<\0",
        b'<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><x>&c;</x>',
        '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE x [<!ENTITY a "b">]><x/>'.encode("utf-16"),
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    ],
)  # fmt: skip
def test_a_broken_or_hostile_packet_says_nothing(raw: bytes) -> None:
    assert xmp_meta(raw) == {}
    assert open_picture(encoded(photo(8, 8), "JPEG", xmp=raw)).meta["width"] == 8


def test_keywords_of_exif_iptc_and_xmp_come_together_once() -> None:
    exif = Image.Exif()
    exif[0x9C9E] = "Boat;beach\0".encode("utf-16-le")
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA"
    exif[0x4746] = 5
    jpeg = encoded(photo(16, 16), "JPEG", exif=exif, xmp=keywords_xmp("Beach", "Sea"))
    jpeg = jpeg[:2] + iptc_block((25, "sea"), (25, "Éire"), (120, "a caption"), (5, "t")) + jpeg[2:]
    meta = open_picture(jpeg).meta
    assert meta["keywords"] == ["Beach", "Sea", "Éire", "Boat"]
    assert (meta["caption"], meta["title"], meta["rating"]) == ("a caption", "t", 5)


def test_a_sidecar_is_read_noticed_when_it_changes_and_forgotten_when_it_goes(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    def keywords(name: str) -> object:
        return collection.get([str(photos / name)])[0].meta.get("keywords")

    (photos / "red.xmp").write_bytes(keywords_xmp("warm"))
    (photos / "nested" / "blue.png.XMP").write_bytes(keywords_xmp("cold", "Sky"))
    ingest(read(str(photos)), encoder, collection)
    assert keywords("red.png") == ["warm"]
    assert keywords("nested/blue.png") == ["cold", "Sky"]
    assert collection.keys(Has("keywords", "SKY")) == [str(photos / "nested" / "blue.png")]

    (photos / "red.xmp").write_bytes(keywords_xmp("hot", "signal"))
    (photos / "nested" / "blue.png.XMP").unlink()
    report = ingest(read(str(photos)), encoder, collection)
    assert (report.updated, report.reused, report.unchanged) == (2, 2, 1)  # nothing embedded
    assert keywords("red.png") == ["hot", "signal"]
    assert keywords("nested/blue.png") is None
    assert ingest(read(str(photos)), encoder, collection).unchanged == 3


def test_a_copy_does_not_take_over_the_sidecar_of_its_twin(
    photos: Path, encoder: Encoder, collection: Collection
) -> None:
    (photos / "red.xmp").write_bytes(keywords_xmp("warm"))
    ingest(read(str(photos)), encoder, collection)
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    assert ingest(read(str(photos)), encoder, collection).reused == 1
    (copy,) = collection.get([str(photos / "copy.png")])
    assert "keywords" not in copy.meta
    assert copy.meta["width"] == 40


def test_a_single_file_has_its_sidecar_too(
    tmp_path: Path, encoder: Encoder, collection: Collection
) -> None:
    path = paint(tmp_path / "a.png", "red")
    (tmp_path / "a.png.xmp").write_bytes(PACKET)
    ingest(read(str(path)), encoder, collection)
    (item,) = collection.get([str(path)])
    assert {n: item.meta.get(n) for n in TOLD} == TOLD
