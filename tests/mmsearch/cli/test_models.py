from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from index_store import Store
from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint

TINY = Path(__file__).parents[1] / "encoders" / "tiny_onnx" / "masked"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def test_an_added_model_indexes_and_searches_from_anywhere(
    mmsearch: Mmsearch, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mmsearch("models", "add", "tiny", "--name", "mine").code == 0
    monkeypatch.chdir(photos)
    assert mmsearch("index", photos, "--model", "mine").code == 0
    assert "mine" in mmsearch("models", "list").out
    # what the name stood for is remembered, so the name may go
    assert mmsearch("models", "remove", "mine").code == 0
    assert mmsearch("search", "a").code == 0


def test_a_copy_is_deleted_only_when_that_is_confirmed(
    mmsearch: Mmsearch, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mmsearch("models", "add", tiny, "--name", "mine", "--copy")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert mmsearch("models", "remove", "mine").code == 130
    assert mmsearch("models", "info", "mine").code == 0
    assert mmsearch("models", "remove", "mine", "--yes").code == 0
    assert mmsearch("models", "info", "mine").code == 4


def test_names_and_folders_that_cannot_be_have_their_exit_codes(
    mmsearch: Mmsearch, tiny: Path
) -> None:
    assert mmsearch("models", "add", tiny, "--name", "starter").code == 2
    assert mmsearch("models", "add", "none", "--name", "mine").code == 4
    assert mmsearch("models", "remove", "mine").code == 2


def test_a_default_is_written_and_the_rest_of_the_file_kept(
    mmsearch: Mmsearch, tiny: Path, tmp_path: Path
) -> None:
    assert mmsearch("models", "default").out == "auto\n"
    file = tmp_path / "config" / "mmsearch" / "config.toml"
    file.parent.mkdir(parents=True)
    rest = '# mine\nthreads = 2\n[other]\nmodel = "not this"\n'
    file.write_text(rest)
    assert mmsearch("models", "default", "color").code == 0
    assert file.read_text() == 'model = "color"\n' + rest
    assert mmsearch("models", "default", "onnx:tiny").code == 0
    assert file.read_text() == f'model = "onnx:{tiny}"\n' + rest
    assert mmsearch("models", "default").out == f"onnx:{tiny}\n"
    assert mmsearch("models", "default", "colour").code == 4
    assert tomllib.loads(file.read_text())["model"] == f"onnx:{tiny}"


def test_a_default_that_cannot_be_written_safely_is_refused(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    file = tmp_path / "config" / "mmsearch" / "config.toml"
    file.parent.mkdir(parents=True)
    odd = 'note = """\nmodel = 1\n"""\nmodel = "starter"\n'
    file.write_text(odd)
    done = mmsearch("models", "default", "color")
    assert (done.code, file.read_text()) == (2, odd)
    assert "by hand" in done.err


def test_the_default_is_for_new_collections_alone(
    indexed: Mmsearch, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    indexed("models", "add", tiny, "--name", "mine")
    indexed("models", "default", "mine")
    paint(photos / "yellow.png", "yellow")
    assert indexed("index", photos).code == 0  # made with color, and still is
    assert indexed("search", "red").code == 0
    assert indexed("index", photos, "--collection", "new").code == 0
    with Store.open(tmp_path / "store", readonly=True) as store:
        models = {name: store.collection(name).model for name in store.collections()}
    assert models == {"default": "color", "new": f"onnx:{tiny}"}


def test_a_download_without_network_says_what_to_do(tmp_path: Path) -> None:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "mmsearch", "models", "download", "onnx:someone/clip"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "someone/clip is not in the local cache" in done.stderr
    assert "fetch it on a machine with network" in done.stderr


def test_what_has_nothing_to_download_says_so(mmsearch: Mmsearch, tiny: Path) -> None:
    assert "nothing to download" in mmsearch("models", "download", "starter").err
    assert mmsearch("models", "download", f"onnx:{tiny}").out == f"{tiny}\n"


def test_the_starter_is_exported_with_figures(mmsearch: Mmsearch, tmp_path: Path) -> None:
    done = mmsearch("models", "export", "starter", "out", "--format", "json", "-q")
    assert done.code == 0
    made = json.loads(done.out)["export"]
    assert made["pictures"]["least"] > 0.9999
    assert Path(made["folder"]) == tmp_path / "out"
    again = mmsearch("models", "export", "starter", "out")
    assert (again.code, "not empty" in again.err) == (2, True)
    assert mmsearch("models", "export", "color", "other").code == 4
    assert not (tmp_path / "other").exists()


def test_an_export_in_8_bits_is_checked_on_ones_own_pictures(mmsearch: Mmsearch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pictures = shared_data("messy") / "exif_rotated"
    how = ("models", "export", "starter", "out", "--int8", "--pictures", pictures, "--least-cosine")
    done = mmsearch(*how, "0.9")
    assert done.code == 0, done.err
    checked = json.loads(Path("out/config.json").read_text())["checked"]
    assert checked["int8"]
    assert 0 < checked["pictures"]["n"] <= len(list(pictures.iterdir()))
    refused = mmsearch(*how, "1", "--force")
    assert refused.code != 0
    assert "least cosine" in refused.err
    assert json.loads(Path("out/config.json").read_text())["checked"] == checked
