"""Tags as keywords in the XMP file beside a picture. The picture itself is never written to."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from mmsearch.files import write_whole
from mmsearch.uris import printable
from mmsearch.xmp import LARGEST

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_X = "adobe:ns:meta/"
_RDF_ROOT = f"{{{_RDF}}}RDF"
# What XML 1.0 has no character for.
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SUBJECT, _BAG, _LI = f"{{{_DC}}}subject", f"{{{_RDF}}}Bag", f"{{{_RDF}}}li"
# Prefixes of programs that write such files: ElementTree would call them ns0, ns1 ...
_PREFIXES = {
    "x": _X, "rdf": _RDF, "dc": _DC, "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/", "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/", "darktable": "http://darktable.sf.net/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/", "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/", "crs": "http://ns.adobe.com/camera-raw-settings/1.0/",
}  # fmt: skip


def write_keywords(picture: str, words: Sequence[str]) -> bool:
    """Add keywords (dc:subject) to a picture's XMP file; return whether anything was new.

    The file is the one that is there, `photo.jpg.xmp` or `photo.xmp`, else a new
    `photo.jpg.xmp`; of a link, what it leads to. All else in it is kept; it is replaced in one
    step.

    Raises:
        ValueError: what is there is no XMP, too large, or has a document type; a word has a
            character that XML cannot hold.
        OSError: it cannot be read or written, or the picture is not there.
    """
    from mmsearch.readers.sidecars import sidecar_of

    for word in words:
        if _NO_XML.search(word):
            raise ValueError(f"{printable(word)} has a character that XML cannot hold")
    Path(picture).stat()
    there = sidecar_of(picture)
    path = Path(os.path.realpath(there or f"{picture}.xmp"))
    root, wrapper = _read(path) if there else (_new(), (b"", b""))
    rdf = root if root.tag == _RDF_ROOT else root.find(f".//{_RDF_ROOT}")
    descriptions = [] if rdf is None else rdf.findall(f"{{{_RDF}}}Description")
    if not descriptions:
        raise ValueError(f"{path.name} is no XMP file that keywords can be added to")
    bag = _bag(descriptions)
    subjects = (li for d in descriptions for li in d.findall(f"{_SUBJECT}/*/{_LI}"))
    known = {(li.text or "").strip().casefold() for li in subjects}
    new = [word for word in dict.fromkeys(words) if word.casefold() not in known]
    for word in new:
        ET.SubElement(bag, _LI).text = word
    if new:
        for prefix, uri in _PREFIXES.items():
            ET.register_namespace(prefix, uri)
        ET.indent(root)
        text = ET.tostring(root, encoding="utf-8", xml_declaration=not wrapper[0])
        whole = wrapper[0] + text + wrapper[1]
        write_whole(path, lambda file: file.write(whole))
    return bool(new)


def _bag(descriptions: Sequence[ET.Element]) -> ET.Element:
    """Return the list of keywords, wherever it is: XMP forbids a second one. Else a new one."""
    for description in descriptions:
        subject, text = description.find(_SUBJECT), description.attrib.pop(_SUBJECT, "")
        if subject is None and not text:
            continue
        if subject is None:
            subject = ET.SubElement(description, _SUBJECT)
        bag = subject.find("*")
        if bag is None:  # one word, not a list of them
            text, subject.text = text or (subject.text or "").strip(), None
            bag = ET.SubElement(subject, _BAG)
        if text:
            ET.SubElement(bag, _LI).text = text
        return bag
    return ET.SubElement(ET.SubElement(descriptions[0], _SUBJECT), _BAG)


def _read(path: Path) -> tuple[ET.Element, tuple[bytes, bytes]]:
    """Return a file's root, comments in it, and the instructions of an XMP packet around it."""
    if os.stat(path).st_size > LARGEST:  # noqa: PTH116
        raise ValueError(f"{path.name} is too large")
    raw = path.read_bytes()
    if b"<!DOCTYPE" in raw.replace(b"\0", b""):  # could hold an XML bomb
        raise ValueError(f"{path.name} has a document type, which no XMP has")
    try:
        parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True, insert_pis=True))
        root = ET.fromstring(raw, parser)
    except ET.ParseError as error:
        raise ValueError(f"{path.name} is no XML: {error}") from error
    if b"<?xpacket begin=" not in raw:
        return root, (b"", b"")
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
    return root, (begin, b'\n<?xpacket end="w"?>\n')


def _new() -> ET.Element:
    root = ET.Element(f"{{{_X}}}xmpmeta")
    rdf = ET.SubElement(root, f"{{{_RDF}}}RDF")
    ET.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    return root
