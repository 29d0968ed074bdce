"""A folder as people have them: every file of the manifest ends as it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from index_store import Store
from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch


def test_every_file_of_the_messy_folder_ends_as_its_manifest_says(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    pytest.importorskip("pillow_heif")
    folder = shared_data("messy").resolve()
    done = mmsearch("index", folder, "--model", "color")
    assert done.code == 5
    with Store.open(tmp_path / "store", readonly=True) as store:
        collection = store.collection("default")
        stored = set(collection.keys())
        failed = {f.key: f.reason for f in collection.failures()}
    assert not stored & failed.keys()
    wrong = []
    for entry in json.loads((folder / "manifest.json").read_text())["files"]:
        key = f"{folder.as_posix()}/{entry['path']}"
        # FITS and SVG are refused on purpose, with a reason.
        refused = failed.get(key, "").startswith(("FITS holds", "SVG is"))
        right = {
            "ok": key in stored or refused,
            "error": key in failed,  # a refused one too
            "skip": key not in stored and (key not in failed or refused),
            "any": (key in stored) != (key in failed),
        }[entry["expect"]]
        if not right:
            wrong.append((entry["path"], entry["expect"], failed.get(key)))
    assert wrong == []
    assert mmsearch("verify", "--full").code == 0

    for line in mmsearch("failures").out.splitlines():
        assert line.isprintable()
        assert "  " in line
