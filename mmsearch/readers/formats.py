"""Which names are pictures, which formats are refused on purpose, and why; what is junk."""

from __future__ import annotations

from pathlib import PurePath

_DRAWING = "is a drawing, not pixels; export it as PNG"
_RAW = "camera raw files need pip install 'mmsearch[raw]'; or export it as JPEG or TIFF"
_HDR = "high dynamic range has no one right rendering; export it as JPEG or PNG"

RAW = frozenset(
    {
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".kdc", ".mef", ".mos",
        ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf",
        ".srw", ".x3f",
    }
)  # fmt: skip
REFUSED: dict[str, str] = {
    ".svg": f"SVG {_DRAWING}",
    ".svgz": f"SVG {_DRAWING}",
    ".eps": f"EPS {_DRAWING}",
    ".ps": f"PostScript {_DRAWING}",
    ".ai": f"an Illustrator file {_DRAWING}",
    ".wmf": f"WMF {_DRAWING}",
    ".emf": f"EMF {_DRAWING}",
    ".pdf": "PDF is a document; name it, or say --inside pdf, to index its pages",
    ".icns": "ICNS is a set of icons; export one of them as PNG",
    ".fits": "FITS holds measurements, not a picture; export a rendering as PNG",
    ".fit": "FITS holds measurements, not a picture; export a rendering as PNG",
    ".fts": "FITS holds measurements, not a picture; export a rendering as PNG",
    ".exr": f"OpenEXR: {_HDR}",
    ".hdr": f"Radiance HDR: {_HDR}",
    **dict.fromkeys(RAW, _RAW),
}

# Thumbnails and waste of NAS boxes, archivers and Windows; compared in lower case.
JUNK = frozenset(
    {"@eadir", "#recycle", "__macosx", "$recycle.bin", "system volume information", "lost+found"}
)


def suffix_of(name: str) -> str:
    """Return the last suffix of a file's name in lower case, with its dot, or ""."""
    _, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot else ""


def is_junk(name: str) -> bool:
    """Return whether a directory of this name, below the root, is passed over."""
    return name.startswith(".") or name.lower() in JUNK


def is_picture(name: str) -> bool:
    """Return whether a file of this name is taken for a picture in a listing."""
    from mmsearch.images import is_picture_name  # Pillow comes with it

    return is_picture_name(name)


def refusal(name: str) -> str | None:
    """Return why a file of this name is refused, or None. What `is_picture` takes is not."""
    reason = REFUSED.get(suffix_of(PurePath(name).name))
    return None if reason is None or is_picture(name) else reason
