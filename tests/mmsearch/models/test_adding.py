from __future__ import annotations

import json
import shutil

import pytest

from mmsearch.encoders import load_encoder, resolve_model
from mmsearch.encoders.named import names_file, read_named
from mmsearch.errors import BadModelName, ModelUnavailable, UnknownName
from mmsearch.models import list_models, model_info
from mmsearch.models.adding import add_model, remove_model


def test_a_name_stands_for_its_folder_anywhere(tiny, monkeypatch, tmp_path):
    folder = tiny("masked")
    monkeypatch.chdir(folder.parent)
    add_model(folder.relative_to(folder.parent), "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resolve_model("mine") == f"onnx:{folder}"
    assert load_encoder("mine").space == load_encoder(f"onnx:{folder}").space


def test_a_copy_outlives_its_original_and_goes_when_it_is_removed(tiny):
    folder = tiny("masked")
    space = load_encoder(f"onnx:{folder}").space
    added = add_model(folder, "mine", copy=True)
    shutil.rmtree(folder)
    assert load_encoder("mine").space == space
    remove_model("mine")
    with pytest.raises(ModelUnavailable, match="does not exist"):
        load_encoder(added.spec)
    assert read_named() == {}


def test_removing_a_name_leaves_the_folder(tiny):
    folder = tiny("masked")
    add_model(folder, "mine")
    remove_model("mine")
    load_encoder(f"onnx:{folder}")
    with pytest.raises(BadModelName, match="you have added none"):
        remove_model("mine")


@pytest.mark.parametrize("name", ["auto", "starter", "color", "onnx", "a:b", "a/b", "..", "", "-x"])
def test_names_that_mean_something_else_are_refused(tiny, name):
    with pytest.raises(BadModelName):
        add_model(tiny("masked"), name)
    assert read_named() == {}


def test_a_taken_name_is_refused_but_adding_twice_is_no_error(tiny, tmp_path):
    folder = tiny("masked")
    add_model(folder, "mine")
    add_model(folder, "mine")
    other = shutil.copytree(folder, tmp_path / "other")
    with pytest.raises(BadModelName, match="is the name of"):
        add_model(other, "mine")
    assert read_named()["mine"].spec == f"onnx:{folder}"


def test_what_is_no_model_gets_no_name(tiny, tmp_path):
    folder = tiny("masked")
    (folder / "textual" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelUnavailable, match="not a working ONNX model"):
        add_model(folder, "mine")
    with pytest.raises(ModelUnavailable, match="does not exist"):
        add_model(tmp_path / "none", "mine")
    with pytest.raises(ModelUnavailable, match="lacks"):
        add_model(tmp_path, "mine")
    assert read_named() == {}


def test_a_trained_model_can_be_added_and_a_refused_one_cannot(tiny, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="mmsearch train --out has not written it"):
        add_model(run, "mine")
    (run / "report.json").write_text("{}")
    shutil.move(tiny("masked"), run / "rejected")
    for folder in (run, run / "rejected"):
        with pytest.raises(ModelUnavailable, match="was refused"):
            add_model(folder, "mine")
    (run / "rejected").rename(run / "model")
    (run / "checkpoint.json").write_text(json.dumps({"format": 1, "kind": "starter"}))
    added = add_model(run, "mine", copy=True)
    assert added.spec.startswith("checkpoint:")
    shutil.rmtree(run)
    assert load_encoder("mine").space.name == added.space


def test_lists_and_infos_have_the_users_own(tiny):
    folder = tiny("masked")
    assert model_info(f"onnx:{folder}").present
    added = add_model(folder, "mine")
    last = list_models()[-1]
    assert (last.spec, last.present, last.path) == ("mine", True, folder)
    assert f"tiny/{model_info('mine').weights_hash}" == added.space
    shutil.rmtree(folder)
    last = list_models()[-1]
    assert not last.present
    assert "gone" in last.what
    assert "gone" in model_info("mine").what


def test_an_unknown_name_is_guessed_among_the_users_own(tiny):
    add_model(tiny("masked"), "holidays")
    for ask in (load_encoder, model_info):
        with pytest.raises(UnknownName, match="did you mean 'holidays'"):
            ask("holiday")


def test_a_damaged_list_of_names_is_an_error_and_is_not_overwritten(tiny):
    folder = tiny("masked")
    names_file().parent.mkdir(parents=True, exist_ok=True)
    names_file().write_text("{")
    for ask in (lambda: resolve_model("mine"), lambda: add_model(folder, "mine")):
        with pytest.raises(ModelUnavailable, match="damaged"):
            ask()
    assert names_file().read_text() == "{"


def test_a_folder_that_is_there_becomes_absolute(tiny, monkeypatch):
    folder = tiny("masked")
    monkeypatch.chdir(folder.parent)
    assert resolve_model(f"onnx:{folder.name}") == f"onnx:{folder}"
    assert resolve_model("onnx:no/such") == "onnx:no/such"
