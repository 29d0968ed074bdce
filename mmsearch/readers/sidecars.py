"""XMP files beside a picture: photo.jpg.xmp (darktable, digiKam) or photo.xmp (Lightroom)."""

# os.path, not pathlib: these lines run for every one of a million files.
# ruff: noqa: PTH113, PTH116, PTH122

from __future__ import annotations

import os

from mmsearch.uris import stamp_of


def sidecar_of(path: str) -> str:
    """Return the path of the XMP file beside a picture, or ""."""
    stem = os.path.splitext(path)[0]
    names = (f"{base}{suffix}" for base in (path, stem) for suffix in (".xmp", ".XMP"))
    return next((n for n in names if os.path.isfile(n)), "")


def sidecar_stamp(path: str) -> str:
    """Return what a sidecar adds to its picture's stamp; "" if it has vanished."""
    try:
        return "~" + stamp_of(os.stat(path))
    except OSError:
        return ""
