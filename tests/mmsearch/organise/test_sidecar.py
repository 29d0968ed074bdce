"""Keywords in XMP files: added, nothing else changed, the picture untouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.organise.sidecar import write_keywords
from mmsearch.xmp import sidecar_meta
from tests.mmsearch.conftest import paint

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmp:Rating="4" darktable:history_end="2">
   <darktable:history>
    <rdf:Seq><rdf:li darktable:operation="exposure"/></rdf:Seq>
   </darktable:history>
   <dc:subject><rdf:Bag><rdf:li>Boat</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>"""


def test_a_new_file_has_the_keywords(tmp_path: Path) -> None:
    picture = paint(tmp_path / "a.png", "red")
    before = picture.read_bytes()
    assert write_keywords(str(picture), ["boat", "blue sky", "<&>"])
    assert picture.read_bytes() == before
    assert sidecar_meta(f"{picture}.xmp") == {"keywords": ["boat", "blue sky", "<&>"]}
    assert not write_keywords(str(picture), ["Boat", "blue sky"])


@pytest.mark.parametrize("name", ["a.png.xmp", "a.xmp"])
def test_what_another_program_wrote_is_kept(tmp_path: Path, name: str) -> None:
    picture = paint(tmp_path / "a.png", "red")
    (tmp_path / name).write_text(DARKTABLE)
    assert write_keywords(str(picture), ["boat", "sea"])
    meta = sidecar_meta(str(tmp_path / name))
    assert meta == {"rating": 4, "keywords": ["Boat", "sea"]}
    text = (tmp_path / name).read_text()
    assert 'darktable:operation="exposure"' in text
    assert 'darktable:history_end="2"' in text
    assert "ns0:" not in text
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no xml", "no XML"),
        ("<a/>", "no XMP file"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
    ],
)
def test_what_is_no_xmp_is_left_as_it_is(tmp_path: Path, content: str, message: str) -> None:
    picture = paint(tmp_path / "a.png", "red")
    (tmp_path / "a.png.xmp").write_text(content)
    with pytest.raises(ValueError, match=message):
        write_keywords(str(picture), ["boat"])
    assert (tmp_path / "a.png.xmp").read_text() == content


def test_nothing_is_written_beside_a_picture_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_keywords(str(tmp_path / "gone.png"), ["boat"])
    assert list(tmp_path.iterdir()) == []


TWO = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4">
  <!-- mine --></rdf:Description>
 <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" {attribute}>
  {element}</rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>
"""


@pytest.mark.parametrize(
    ("attribute", "element"),
    [
        ("", "<dc:subject><rdf:Bag><rdf:li>boat</rdf:li></rdf:Bag></dc:subject>"),
        ("", "<dc:subject><rdf:Seq><rdf:li>boat</rdf:li></rdf:Seq></dc:subject>"),
        ("", "<dc:subject>boat</dc:subject>"),
        ('dc:subject="boat"', ""),
    ],
)
def test_keywords_go_to_those_that_are_there_wherever_they_are(
    tmp_path: Path, attribute: str, element: str
) -> None:
    picture = paint(tmp_path / "a.png", "red")
    sidecar = tmp_path / "a.xmp"
    sidecar.write_text(TWO.format(attribute=attribute, element=element), encoding="utf8")
    assert write_keywords(str(picture), ["sea", "Boat"])
    text = sidecar.read_text(encoding="utf8")
    assert text.count("<dc:subject") == 1  # a property that is there twice is no XMP
    assert "dc:subject=" not in text
    assert sidecar_meta(str(sidecar)) == {"rating": 4, "keywords": ["boat", "sea"]}
    assert text.startswith("<?xpacket begin=")
    assert '<?xpacket end="w"?>' in text
    assert "<!-- mine -->" in text
    assert not write_keywords(str(picture), ["sea"])


def test_a_word_that_xml_cannot_hold_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    picture = paint(tmp_path / "a.png", "red")
    (tmp_path / "a.xmp").write_text(DARKTABLE)
    with pytest.raises(ValueError, match=r"sea\\x07 has a character"):
        write_keywords(str(picture), ["sea\x07"])
    assert (tmp_path / "a.xmp").read_text() == DARKTABLE


def test_a_link_to_an_xmp_file_stays_one(tmp_path: Path) -> None:
    picture = paint(tmp_path / "a.png", "red")
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / "b.xmp"
    real.write_text(DARKTABLE)
    (tmp_path / "a.xmp").symlink_to(real)
    assert write_keywords(str(picture), ["sea"])
    assert (tmp_path / "a.xmp").is_symlink()
    assert sidecar_meta(str(real))["keywords"] == ["Boat", "sea"]
