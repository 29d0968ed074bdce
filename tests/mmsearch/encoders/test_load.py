"""Specs: what they name, and what is said when they name nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from mmsearch.encoders import RECOMMENDED, load_encoder, resolve_model
from mmsearch.encoders.bundle import read_bundle
from mmsearch.errors import MissingExtra, ModelUnavailable, UnknownName
from tests.mmsearch.encoders.conftest import TINY


def imported(code: str) -> set[str]:
    """Return the top-level modules that `code` imports in a fresh interpreter."""
    end = "import sys; print(*{m.partition('.')[0] for m in sys.modules})"
    command = [sys.executable, "-c", f"{code}\n{end}"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_the_package_imports_nothing_heavy():
    heavy = {"numpy", "PIL", "torch", "onnxruntime", "tokenizers", "huggingface_hub"}
    assert not imported("import mmsearch.encoders") & heavy


def test_a_text_query_needs_no_pil_and_no_hub_client():
    code = f"""
from mmsearch.encoders import load_encoder
encoder = load_encoder("onnx:{TINY / "masked"}", towers="text")
assert encoder.encode_texts(["red"]).shape == (1, 3)
assert encoder._visual is None"""
    assert not imported(code) & {"PIL", "torch", "huggingface_hub", "sqlalchemy", "faiss", "click"}


def test_an_unknown_name_is_guessed():
    with pytest.raises(UnknownName, match=r"unknown encoder 'colour'; did you mean 'color'\?"):
        load_encoder("colour")


def open_mine(argument, *, threads, device, towers):
    return argument, threads, device, towers


def test_a_third_party_registers_by_entry_point(monkeypatch):
    point = EntryPoint("mine", f"{__name__}:open_mine", "mmsearch.encoders")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    made = load_encoder("mine:C:/folder:1", threads=3, towers="text")
    assert made == ("C:/folder:1", 3, None, "text")


def test_a_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "mmsearch.encoders.hf", raising=False)
    monkeypatch.delitem(sys.modules, "mmsearch.encoders.torch_backend", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'mmsearch\[torch\]'"):
        load_encoder("hf:somewhere/else")


def test_any_other_spec_resolves_to_itself():
    assert resolve_model("onnx:models/mine") == "onnx:models/mine"


def test_auto_is_the_starter_when_nothing_is_cached():
    assert resolve_model("auto") == "starter"


def test_auto_is_the_best_recommended_model_in_the_cache(cached_repo):
    cached_repo(RECOMMENDED[1].removeprefix("onnx:"), TINY / "immich")
    assert resolve_model("auto") == RECOMMENDED[1]
    cached_repo(RECOMMENDED[0].removeprefix("onnx:"), TINY / "immich")
    assert resolve_model("auto") == RECOMMENDED[0]
    assert load_encoder("auto").space.dim == 3


def test_auto_passes_over_a_model_that_is_half_fetched(cached_repo):
    folder = cached_repo(RECOMMENDED[0].removeprefix("onnx:"), TINY / "immich")
    (folder / "textual" / "model.onnx").unlink()
    assert resolve_model("auto") == "starter"


def test_a_cached_repository_loads_without_a_network(cached_repo, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)  # calling it would fail
    cached_repo("someone/tiny", TINY / "immich")
    assert load_encoder("onnx:someone/tiny").encode_texts(["red"]).shape == (1, 3)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("no route to host\nTry again"), "cannot be fetched: no route to host;"),
        (ValueError("bad repo id"), "bad repo id"),
    ],
)
def test_a_failed_fetch_says_what_why_and_what_to_do(monkeypatch, error, says):
    def fail(repo, **options):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelUnavailable, match=says) as caught:
        load_encoder("onnx:someone/tiny")
    assert "someone/tiny" in str(caught.value)
    assert "--model starter" in str(caught.value)


def test_a_half_fetched_repository_is_fetched_again(cached_repo, monkeypatch):
    folder = cached_repo("someone/tiny", TINY / "immich")
    (folder / "config.json").unlink()
    asked = []

    def fetch(repo, **options):
        asked.append(repo)
        (folder / "config.json").write_bytes((TINY / "immich" / "config.json").read_bytes())
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert load_encoder("onnx:someone/tiny").space.dim == 3
    assert asked == ["someone/tiny"]


def test_an_incomplete_repository_is_refused(cached_repo, monkeypatch):
    folder = cached_repo("someone/tiny", TINY / "immich")
    (folder / "config.json").unlink()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo, **options: str(folder))
    with pytest.raises(ModelUnavailable, match="incomplete"):
        load_encoder("onnx:someone/tiny")


def test_a_bug_in_the_fetch_comes_out_as_itself(monkeypatch):
    def fail(repo, **options):
        raise AttributeError("a bug")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(AttributeError):
        load_encoder("onnx:someone/tiny")


@pytest.mark.parametrize("spec", ["onnx:/no/such/folder", "onnx:", "onnx:a/../b", "onnx:./x/y"])
def test_a_folder_that_is_not_there_is_not_asked_of_the_hub(spec, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(ModelUnavailable, match="does not exist"):
        load_encoder(spec)


@pytest.mark.parametrize(
    ("value", "towers"),
    [(True, {"visual", "textual"}), (False, set()), (["textual"], {"textual"}), ([], set())],
)
def test_a_config_says_which_towers_are_optimised(tmp_path, value, towers):
    folder = _copy_with(tmp_path, value)
    assert read_bundle(folder).optimized == towers


@pytest.mark.parametrize("value", ["yes", ["text"], 1])
def test_a_wrong_word_about_optimised_towers_is_refused(tmp_path, value):
    with pytest.raises(ModelUnavailable, match="optimized"):
        read_bundle(_copy_with(tmp_path, value))


def _copy_with(tmp_path, value):
    folder = tmp_path / "model"
    shutil.copytree(TINY / "immich", folder)
    config = {"name": "n", "dim": 3, "image_size": 8, "context_length": 4, "optimized": value}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
