from __future__ import annotations

import json
import runpy
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders import STARTER, load_encoder
from mmsearch.encoders.tokens import clean_text
from mmsearch.encoders.weights import bundle_hash
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Encoder
from tests.mmsearch.encoders.conftest import TINY

half = 0.5**0.5
BUNDLES = ("masked", "immich", "external")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def pixels(*colors: tuple[float, float, float]) -> np.ndarray:
    return np.stack([np.broadcast_to(np.float32(c)[:, None, None], (3, 4, 4)) for c in colors])


def test_the_committed_bundles_are_what_the_script_makes(tmp_path):
    runpy.run_path(str(TINY / "make.py"))["main"](tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert made == {p: (TINY / p).read_bytes() for p in made}
    assert len(made) == 19


@pytest.mark.parametrize("name", BUNDLES)
def test_texts_become_unit_rows_in_every_layout(name):
    encoder = load_encoder(f"onnx:{TINY / name}")
    assert isinstance(encoder, Encoder)
    rows = encoder.encode_texts(["red", "Red BLUE", "blue red red"])
    expected = [(1, 0, 0), (half, 0, half), (2 / 5**0.5, 0, 1 / 5**0.5)]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("name", BUNDLES)
def test_pictures_become_unit_rows_in_every_layout(name):
    encoder = load_encoder(f"onnx:{TINY / name}")
    rows = encoder.encode_images(pixels((1, 0, 0), (0.2, 0.2, 0), (0, 0, 3)))
    np.testing.assert_allclose(rows, [(1, 0, 0), (half, half, 0), (0, 0, 1)], atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
@pytest.mark.parametrize("name", BUNDLES)
def test_pictures_shared_out_to_threads_come_back_in_order(name, threads):
    encoder = load_encoder(f"onnx:{TINY / name}", threads=threads)
    colors = [(i + 1, 7 - i, 1) for i in range(7)]
    expected = np.array(colors) / np.linalg.norm(colors, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode_images(pixels(*colors)), expected, atol=1e-6)


@pytest.mark.parametrize("name", BUNDLES)
def test_no_input_gives_no_rows(name):
    encoder = load_encoder(f"onnx:{TINY / name}")
    assert encoder.encode_texts([]).shape == (0, 3)
    assert encoder.encode_images(np.empty((0, 3, 4, 4), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("name", BUNDLES)
def test_a_text_has_the_same_vector_alone_and_in_any_batch(name):
    encoder = load_encoder(f"onnx:{TINY / name}")
    texts = ["red", "blue green", "red " * 7, "green"] * 20  # more than one run
    alone = np.concatenate([encoder.encode_texts([t]) for t in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts), alone, atol=1e-6)


@pytest.mark.parametrize("name", BUNDLES)
def test_an_overlong_text_is_cut_at_the_context_length(name):
    encoder = load_encoder(f"onnx:{TINY / name}")
    rows = encoder.encode_texts(["red " * 8 + "blue " * 50])
    np.testing.assert_allclose(rows, [(1, 0, 0)], atol=1e-6)


def test_a_model_without_a_mask_gets_its_own_pad_token(tiny):
    folder = tiny("immich")
    (folder / "textual" / "tokenizer_config.json").write_text('{"pad_token": "blue"}')
    row = load_encoder(f"onnx:{folder}").encode_texts(["red"])[0]
    np.testing.assert_allclose(row, np.array([1, 0, 7]) / 50**0.5, atol=1e-6)


def test_without_any_config_the_padding_is_0_as_clips(tiny):
    folder = tiny("immich")
    (folder / "textual" / "tokenizer_config.json").unlink()
    row = load_encoder(f"onnx:{folder}").encode_texts(["red"])[0]  # [PAD] is (9, 9, 9)
    expected = np.array([1, 0, 0]) + 7 * np.array([9, 9, 9])
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


def test_the_tokenizers_own_pad_id_counts_when_no_config_names_one(tiny):
    folder = tiny("immich")
    (folder / "textual" / "tokenizer_config.json").unlink()
    padding = {
        "strategy": {"Fixed": 99},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 6,
        "pad_type_id": 0,
        "pad_token": "nothing",
    }
    edit(folder / "textual" / "tokenizer.json", padding=padding)
    row = load_encoder(f"onnx:{folder}").encode_texts(["red"])[0]
    np.testing.assert_allclose(row, (1, 0, 0), atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_goes_to_the_side_that_the_config_says(tiny, side):
    from mmsearch.encoders.bundle import read_bundle
    from mmsearch.encoders.tokens import Tokens

    folder = tiny("immich")
    edit(folder / "textual" / "tokenizer_config.json", padding_side=side)
    ids, mask = Tokens(read_bundle(folder), 4)(["red blue", "green"], whole=True)
    right = [[2, 4, 6, 6], [3, 6, 6, 6]]
    assert ids.tolist() == (right if side == "right" else [[6, 6, 2, 4], [6, 6, 6, 3]])
    assert mask.tolist() == [[int(i != 6) for i in row] for row in ids.tolist()]


def test_the_config_can_ask_for_the_full_length_despite_a_mask(tiny):
    from mmsearch.encoders.onnx import _pads_whole

    folder = tiny("masked")
    encoder = load_encoder(f"onnx:{folder}")
    tower = encoder._open(encoder.bundle.textual, brief=True)
    assert not _pads_whole(tower, encoder.bundle)
    edit(folder / "config.json", padding="context")
    assert _pads_whole(tower, load_encoder(f"onnx:{folder}").bundle)


@pytest.mark.parametrize(
    ("how", "cleaned"),
    [
        ("none", " Red_cat,  &amp;amp; dog. "),
        ("whitespace", "Red_cat, & dog."),
        ("lower", "red_cat, & dog."),
        ("canonicalize", "red cat dog"),
    ],
)
def test_texts_are_cleaned_as_the_model_was_trained(how, cleaned):
    assert clean_text(" Red_cat,  &amp;amp; dog. ", how) == cleaned


def test_prepare_gives_what_the_image_tower_takes():
    encoder = load_encoder(f"onnx:{TINY / 'masked'}")
    assert encoder.image_size == 4
    prepared = encoder.prepare(Image.new("RGB", (30, 20), (255, 0, 51)))
    np.testing.assert_allclose(prepared, pixels((1, 0, 0.2))[0], atol=1e-6)


def test_each_tower_is_loaded_when_it_is_first_used(tiny):
    folder = tiny("masked")
    encoder = load_encoder(f"onnx:{folder}")
    (folder / "visual" / "model.onnx").write_bytes(b"junk")
    np.testing.assert_allclose(encoder.encode_texts(["red"]), [(1, 0, 0)], atol=1e-6)
    with pytest.raises(ModelUnavailable, match=r"visual.model\.onnx is not a working ONNX model"):
        encoder.encode_images(pixels((1, 0, 0)))


def test_a_tower_that_is_loaded_ahead_gives_the_same_and_its_trouble_when_it_is_used(tiny):
    folder = tiny("masked")
    red = pixels((1, 0, 0.2))
    ahead = load_encoder(f"onnx:{folder}", towers="image")
    expected = load_encoder(f"onnx:{folder}").encode_images(red)
    for _ in range(2):
        np.testing.assert_array_equal(ahead.encode_images(red), expected)
    (folder / "visual" / "model.onnx").write_bytes(b"junk")
    broken = load_encoder(f"onnx:{folder}", towers="image")
    np.testing.assert_allclose(broken.encode_texts(["red"]), [(1, 0, 0)], atol=1e-6)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match=r"visual.model\.onnx is not a working ONNX"):
            broken.encode_images(red)


def test_many_threads_open_one_session_and_get_the_same_rows(monkeypatch):
    from mmsearch.encoders import onnx

    opened = []
    real = onnx.OrtTower
    monkeypatch.setattr(onnx, "OrtTower", lambda *a, **k: opened.append(a) or real(*a, **k))
    encoder = load_encoder(f"onnx:{TINY / 'masked'}")
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: encoder.encode_texts(["red blue"]), range(64)))
    np.testing.assert_allclose(np.concatenate(rows), [(half, 0, half)] * 64, atol=1e-6)
    assert len(opened) == 1


# What can be wrong with a folder: each message names the file at fault.


@pytest.mark.parametrize(
    "name",
    ["config.json", "visual/model.onnx", "visual/preprocess_cfg.json", "textual/tokenizer.json"],
)
def test_a_missing_file_is_named(tiny, name):
    folder = tiny("masked")
    (folder / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"lacks {name}"):
        load_encoder(f"onnx:{folder}")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("[]", "not a JSON object"),
        ("{", "cannot be read as JSON"),
        ("{}", "lacks 'name'"),
        ('{"embed_dim": 3}', "lacks 'text_cfg'"),
        ('{"name": "x", "dim": "many", "image_size": 4, "context_length": 8}', "many"),
    ],
)
def test_a_broken_config_is_named(tiny, config, says):
    folder = tiny("masked")
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelUnavailable, match=says) as caught:
        load_encoder(f"onnx:{folder}")
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("tower", ["visual", "textual"])
def test_a_graph_of_another_dimension_is_refused(tiny, name, tower):
    folder = tiny(name)
    key = "embed_dim" if name == "immich" else "dim"
    edit(folder / "config.json", **{key: 5})
    encoder = load_encoder(f"onnx:{folder}")
    with pytest.raises(ModelUnavailable, match="5 dimensions"):
        encoder.encode_texts(["red"]) if tower == "textual" else encoder.encode_images(
            pixels((1, 0, 0))
        )


def test_a_broken_tokenizer_is_named(tiny):
    folder = tiny("masked")
    (folder / "textual" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json is not a tokenizer"):
        load_encoder(f"onnx:{folder}").encode_texts(["red"])


def test_a_tokenizer_of_another_model_is_refused(tiny):
    folder = tiny("masked")
    vocab = {"[UNK]": 1, "red": 4000}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}
    edit(folder / "textual" / "tokenizer.json", model=model)
    with pytest.raises(ModelUnavailable, match="tokenizer or its preprocessing belongs to another"):
        load_encoder(f"onnx:{folder}").encode_texts(["red"])


def test_a_picture_of_another_size_is_refused():
    encoder = load_encoder(f"onnx:{TINY / 'masked'}")
    with pytest.raises(ModelUnavailable, match="refuses its input"):
        encoder.encode_images(np.zeros((1, 3, 5, 5), np.float32))


def test_missing_external_weights_are_named(tiny):
    folder = tiny("external")
    (folder / "textual" / "table.data").unlink()
    with pytest.raises(ModelUnavailable, match=r"textual.model\.onnx is not a working ONNX model"):
        load_encoder(f"onnx:{folder}").encode_texts(["red"])


@pytest.mark.parametrize("text", ["nan", "nothing"])
def test_a_vector_without_a_direction_is_an_error_not_a_row(text):
    encoder = load_encoder(f"onnx:{TINY / 'masked'}")
    with pytest.raises(ModelUnavailable, match="no usable vector for input 1"):
        encoder.encode_texts(["red", text])


def test_towers_that_take_something_else_are_refused(tiny):
    folder = tiny("masked")
    shutil.copy(folder / "visual" / "model.onnx", folder / "keep")
    shutil.copy(folder / "textual" / "model.onnx", folder / "visual" / "model.onnx")
    shutil.move(folder / "keep", folder / "textual" / "model.onnx")
    encoder = load_encoder(f"onnx:{folder}")
    with pytest.raises(ModelUnavailable, match="image tower takes one input"):
        encoder.encode_images(pixels((1, 0, 0)))
    with pytest.raises(ModelUnavailable, match="text tower takes token ids"):
        encoder.encode_texts(["red"])


@pytest.mark.parametrize("device", ["tpu", "mps", "cuda"])
def test_a_device_that_is_not_there_is_an_error(device):
    import onnxruntime

    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ModelUnavailable, match="cpu"):
        load_encoder(f"onnx:{TINY / 'masked'}", device=device).encode_texts(["red"])


def test_the_starter_says_so_when_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr("mmsearch.encoders.onnx.STARTER", tmp_path / "none")
    with pytest.raises(ModelUnavailable, match="starter model is not in this installation"):
        load_encoder("starter")


@pytest.mark.skipif(not STARTER.is_dir(), reason="the starter bundle is not in this checkout")
def test_the_starters_hash_is_the_hash_of_its_weights():
    config = json.loads((STARTER / "config.json").read_text())
    assert config["weights_hash"] == bundle_hash(STARTER)
    encoder = load_encoder("starter")
    assert encoder.space.name == f"{config['name']}/{config['weights_hash']}"
    assert encoder.space.dim == encoder.encode_texts(["a dog"]).shape[1]
