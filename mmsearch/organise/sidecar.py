"""Tags as keywords in the XMP file beside a picture. The picture itself is never written to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from mmsearch.files import write_whole
from mmsearch.xmp import LARGEST

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_X = "adobe:ns:meta/"
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
    `photo.jpg.xmp`. All else in it is kept; it is replaced in one step.

    Raises:
        ValueError: what is there is no XMP, too large, or has a document type.
        OSError: it cannot be read or written, or the picture is not there.
    """
    from mmsearch.readers.sidecars import sidecar_of

    Path(picture).stat()
    there = sidecar_of(picture)
    path = Path(there or f"{picture}.xmp")
    root = _read(path) if there else _new()
    description = root.find(f".//{{{_RDF}}}Description")
    if description is None:
        raise ValueError(f"{path.name} is no XMP file that keywords can be added to")
    bag = description.find(f"{_SUBJECT}/*")
    if bag is None:
        bag = ET.SubElement(ET.SubElement(description, _SUBJECT), _BAG)
    known = {(li.text or "").strip().casefold() for li in bag}
    new = [word for word in dict.fromkeys(words) if word.casefold() not in known]
    for word in new:
        ET.SubElement(bag, _LI).text = word
    if new:
        for prefix, uri in _PREFIXES.items():
            ET.register_namespace(prefix, uri)
        ET.indent(root)
        text = ET.tostring(root, encoding="utf-8", xml_declaration=True)
        write_whole(path, lambda file: file.write(text))
    return bool(new)


def _read(path: Path) -> ET.Element:
    if os.stat(path).st_size > LARGEST:  # noqa: PTH116
        raise ValueError(f"{path.name} is too large")
    raw = path.read_bytes()
    if b"<!DOCTYPE" in raw.replace(b"\0", b""):  # could hold an XML bomb
        raise ValueError(f"{path.name} has a document type, which no XMP has")
    try:
        return ET.fromstring(raw)
    except ET.ParseError as error:
        raise ValueError(f"{path.name} is no XML: {error}") from error


def _new() -> ET.Element:
    root = ET.Element(f"{{{_X}}}xmpmeta")
    rdf = ET.SubElement(root, f"{{{_RDF}}}RDF")
    ET.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    return root
