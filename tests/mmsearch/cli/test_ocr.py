"""`mmsearch ocr`: text in pictures is read once and found by its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.mmsearch.cli.conftest import Mmsearch


def page(path: Path, text: str) -> None:
    image = Image.new("RGB", (480, 120), "white")
    font = ImageFont.load_default(size=40)
    ImageDraw.Draw(image).text((20, 30), text, fill="black", font=font)
    image.save(path)


def test_text_in_pictures_is_found(indexed: Mmsearch, photos: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime", reason="needs the extra ocr")
    page(photos / "scan1.png", "Zebra invoice")
    page(photos / "scan2.png", "Harbour map")
    assert indexed("index", photos).code == 0
    done = indexed("ocr", "--path", "scan*", "--threads", "1", "--format", "json")
    assert json.loads(done.out)["report"] == {"read": 2, "with_text": 2, "failed": []}
    assert "2 pictures read, 2 of them with text" in done.err
    out = indexed("search", "the zebra", "--hybrid", "-n", "1", "--format", "paths").out
    assert Path(out.strip()).name == "scan1.png"
    out = indexed("search", "x", "--where", "ocr ~ 'harbour'", "--format", "paths").out
    assert Path(out.strip()).name == "scan2.png"
    # Read once; one that is gone is named, and tried again the next time.
    (photos / "red.png").unlink()
    done = indexed("ocr")
    assert done.code == 5
    assert "2 pictures read, 0 of them with text, 1 failed" in done.err
    assert "red.png: No such file" in done.err
    assert "0 pictures read" in indexed("ocr", "--path", "scan*").err
    assert "1 pictures read" in indexed("ocr", "--path", "scan1*", "--again").err


def test_without_the_engine_the_extra_is_named(
    indexed: Mmsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    done = indexed("ocr")
    assert (done.code, done.out) == (4, "")
    assert "pip install 'mmsearch[ocr]'" in done.err
