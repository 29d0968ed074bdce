from __future__ import annotations

import pytest

from mmsearch.encoders import RECOMMENDED, load_encoder
from mmsearch.errors import ModelUnavailable, UnknownName
from mmsearch.models import CATALOGUE, list_models, model_info
from tests.mmsearch.encoders.conftest import TINY


def test_every_recommended_model_is_in_the_catalogue():
    assert set(RECOMMENDED) <= {model.spec for model in CATALOGUE}


def test_every_published_figure_has_its_source():
    figures = [m for m in CATALOGUE if m.text_to_image or m.image_to_text]
    assert figures
    assert all(m.source for m in figures)


def test_the_list_tells_what_is_here(cached_repo):
    here = {m.spec: m.present for m in list_models()}
    assert here["color"]
    assert not here[RECOMMENDED[0]]
    folder = cached_repo(RECOMMENDED[0].removeprefix("onnx:"), TINY / "immich")
    found = next(m for m in list_models() if m.spec == RECOMMENDED[0])
    assert (found.present, found.path) == (True, folder)
    (folder / "config.json").unlink()
    assert not next(m for m in list_models() if m.spec == RECOMMENDED[0]).present


def test_a_models_own_config_goes_before_the_catalogue(cached_repo):
    assert model_info(RECOMMENDED[0]).dim == 768
    cached_repo(RECOMMENDED[0].removeprefix("onnx:"), TINY / "immich")
    info = model_info("auto")
    assert (info.spec, info.dim, info.image_size) == (RECOMMENDED[0], 3, 4)
    assert info.text_to_image == 52.1


def test_a_folders_info_has_the_hash_of_its_space_and_its_card(tiny):
    folder = tiny("masked")
    (folder / "README.md").write_text("# A card")
    info = model_info(f"onnx:{folder}")
    assert load_encoder(f"onnx:{folder}").space.name == f"tiny/{info.weights_hash}"
    assert info.card == folder / "README.md"
    assert info.present


def test_a_model_that_nobody_knows_is_not_present():
    info = model_info("open_clip:ViT-L-14/openai")
    assert (info.present, info.extra) == (False, "torch")
    assert not model_info("onnx:someone/else").present


def test_an_unknown_name_and_a_broken_folder_are_errors(tiny):
    with pytest.raises(UnknownName, match="did you mean 'color'"):
        model_info("colour")
    folder = tiny("masked")
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnavailable, match=r"lacks config\.json"):
        model_info(f"onnx:{folder}")
