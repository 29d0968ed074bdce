"""`mmsearch tag`, by the starter on real photographs and by colours whose answer can be seen."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.readers.dng import dng


def names(out: str) -> list[str]:
    return sorted(Path(line).name for line in out.splitlines())


def tagged(done: str) -> dict[str, list[str]]:
    return {Path(json.loads(line)["path"]).name: list(json.loads(line)["tags"])
            for line in done.splitlines()}  # fmt: skip


def test_tags_are_stored_and_found(indexed: Mmsearch, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("blue\n")
    done = indexed("tag", "red", "--labels", file, "--strictness", "1", "--format", "jsonl")
    assert tagged(done.out) == {"red.png": ["red"], "blue.png": ["blue"]}
    assert "2 of 3 pictures have one of the labels" in done.err
    assert names(indexed("search", "green", "--tag", "Red", "--format", "paths").out) == ["red.png"]
    # Added to what is there, then put in its place.
    assert indexed("tag", "green", "--strictness", "1", "--path", "green*").code == 0
    out = indexed("search", "x", "--where", "tags = 'green'", "--format", "paths").out
    assert names(out) == ["green.png"]
    assert indexed("tag", "green", "--strictness", "1", "--replace").code == 0
    assert indexed("search", "green", "--tag", "red").code == 1


def test_a_dry_run_stores_nothing(indexed: Mmsearch) -> None:
    done = indexed("tag", "red", "blue", "red", "--dry-run", "--strictness", "1")
    assert [line.split() for line in done.out.splitlines()] == [["1", "red"], ["1", "blue"]]
    assert indexed("search", "red", "--tag", "red").code == 1
    assert indexed("tag", "red", "--dry-run", "--write-xmp").code == 2


def test_calls_that_cannot_be_are_refused(indexed: Mmsearch) -> None:
    assert indexed("tag").code == 2
    assert "no {} for the label" in indexed("tag", "red", "--prompt", "red").err
    done = indexed("tag", "red", "--path", "blue*", "--strictness", "1")
    assert (done.code, done.out.split()) == (1, ["0", "red"])


def test_keywords_go_beside_the_pictures_and_stay_tags(indexed: Mmsearch, photos: Path) -> None:
    before = {p: p.read_bytes() for p in photos.rglob("*.png")}
    done = indexed("tag", "red", "blue", "--strictness", "1", "--write-xmp", "--prompt", "{}",
                   "--format", "json", "--threads", "1")  # fmt: skip
    assert done.code == 0
    assert "2 XMP files written" in done.err
    assert len(json.loads(done.out)["pictures"]) == 2
    assert {p: p.read_bytes() for p in photos.rglob("*.png")} == before
    assert "<rdf:li>red</rdf:li>" in (photos / "red.png.xmp").read_text()
    # The next run reads the keywords; what was stored as a tag is kept.
    assert indexed("index", photos).code == 0
    (hit,) = json.loads(indexed("search", "red", "-n", "1", "--format", "json").out)["hits"]
    assert (hit["meta"]["keywords"], hit["meta"]["tags"]) == (["red"], ["red"])
    (photos / "red.png.xmp").write_text("broken")
    (photos / "nested" / "blue.png").unlink()
    done = indexed("tag", "red", "blue", "--strictness", "1", "--write-xmp")
    assert done.code == 5
    assert "2 failed" in done.err
    assert (photos / "red.png.xmp").read_text() == "broken"


def test_keywords_go_beside_a_raw_file_too(mmsearch: Mmsearch, tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    album = tmp_path / "album"
    album.mkdir()
    preview = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(preview, "JPEG")
    (album / "a.dng").write_bytes(dng(preview.getvalue()))
    Image.new("RGB", (64, 48), "blue").save(album / "b.png")
    Image.new("RGB", (64, 48), "green").save(album / "c.png")
    assert mmsearch("index", album, "--model", "color").code == 0
    assert mmsearch("tag", "red", "--strictness", "1", "--write-xmp").code == 0
    assert "<rdf:li>red</rdf:li>" in (album / "a.dng.xmp").read_text()
    mmsearch("index", album)
    where = ("--where", "keywords = 'red'")
    assert names(mmsearch("search", "x", *where, "--format", "paths").out) == ["a.dng"]


@pytest.mark.slow
def test_what_the_starter_tags_as_a_dog_is_one(mmsearch: Mmsearch, tmp_path: Path) -> None:
    source = shared_data("flickr8k")
    entries = json.loads((source / "dataset.json").read_text())["images"]
    chosen = [e for e in entries if e["split"] == "test"][:40]
    folder = tmp_path / "album"
    folder.mkdir()
    for entry in chosen:
        shutil.copyfile(source / entry["filename"], folder / Path(entry["filename"]).name)
    assert mmsearch("index", folder, "--model", "starter").code == 0
    found = tagged(mmsearch("tag", "dog", "airplane", "--format", "jsonl").out)
    dogs = {n for n, tags in found.items() if "dog" in tags}
    told = {Path(e["filename"]).name for e in chosen if "dog" in str(e["sentences"])}
    assert len(dogs & told) >= 3
    assert len(dogs - told) <= 1
    assert sum("airplane" in tags for tags in found.values()) <= 1
