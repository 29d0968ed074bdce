"""transformers' models, tiny and random, saved here; the reference is transformers itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from mmsearch.encoders import load_encoder  # noqa: E402
from mmsearch.errors import ModelUnavailable  # noqa: E402
from mmsearch.types import Encoder  # noqa: E402
from tests.mmsearch.encoders.hf_models import BUILDERS, TEXTS, picture  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", params=BUILDERS)
def folder(request, tmp_path_factory):
    """A folder with a tiny model of each family, its tokenizer and its image processor."""
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    BUILDERS[request.param](path)
    return path


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip_alone")
    torch.manual_seed(0)
    BUILDERS["clip"](path)
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(f"hf:{folder}", device="cpu")


@pytest.fixture(scope="module")
def reference(folder):
    """transformers' own forward pass, its whole text-and-picture model at once."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return model, tokenizer, processor


def test_loading_writes_nothing_and_leaves_transformers_bars_as_they_were(clip_folder, capfd):
    load_encoder(f"hf:{clip_folder}", device="cpu")
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_it_is_an_encoder(encoder):
    assert isinstance(encoder, Encoder)
    assert (encoder.space.dim, encoder.image_size) == (16, 32)


def test_both_towers_agree_with_the_models_own_forward(encoder, reference):
    model, tokenizer, _ = reference
    siglip = model.config.model_type == "siglip"
    options = {"padding": "max_length", "max_length": 12} if siglip else {"padding": True}
    tokens = tokenizer(TEXTS, return_tensors="pt", truncation=True, **options)
    if siglip:
        tokens.pop("attention_mask", None)
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out = model(pixel_values=pixels, **tokens)
    unit = torch.nn.functional.normalize
    texts, images = unit(out.text_embeds, dim=-1).numpy(), unit(out.image_embeds, dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pixels.numpy()), images, atol=1e-5)


def test_a_text_has_the_same_vector_alone_and_in_any_batch(encoder):
    alone = np.concatenate([encoder.encode_texts([t]) for t in TEXTS])
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), alone, atol=1e-5)


def test_an_overlong_text_is_cut(encoder):
    assert encoder.encode_texts(["a cat and " * 50]).shape == (1, 16)


@pytest.mark.parametrize("size", [(80, 50), (31, 90), (32, 32)])
def test_prepare_agrees_with_the_models_own_processor(encoder, reference, size):
    image = picture(size)
    expected = reference[2](images=image, return_tensors="np")["pixel_values"][0]
    prepared = encoder.prepare(image)
    # torchvision and Pillow differ in the bicubic kernel's rounding by up to one grey level.
    np.testing.assert_allclose(prepared, expected, atol=1.01 / 255 / 0.26)
    assert np.abs(prepared - expected).mean() < 0.2 / 255 / 0.26


def test_the_space_follows_the_weights_not_the_folder(encoder, folder, tmp_path):
    transformers.AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    for path in folder.iterdir():
        if path.suffix != ".safetensors" and not (tmp_path / path.name).exists():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load_encoder(f"hf:{tmp_path}").space == encoder.space


def copied(folder, to):
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_siglip_texts_are_lower_cased(tmp_path):
    BUILDERS["siglip"](tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    np.testing.assert_array_equal(encoder.encode_texts(["CAT"]), encoder.encode_texts(["cat"]))


def test_an_old_pytorch_checkpoint_loads_without_code(clip_folder, tmp_path):
    from safetensors.torch import load_file

    folder = copied(clip_folder, tmp_path)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert load_encoder(f"hf:{folder}").space == load_encoder(f"hf:{clip_folder}").space


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code from a checkpoint ran')",)


def test_a_checkpoint_with_code_in_it_is_refused(clip_folder, tmp_path):
    folder = copied(clip_folder, tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable):
        load_encoder(f"hf:{folder}")


def test_a_model_that_brings_code_is_refused(clip_folder, tmp_path):
    folder = copied(clip_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModel": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text("raise SystemExit('code from a repository ran')")
    with pytest.raises(ModelUnavailable, match="no model that loads"):
        load_encoder(f"hf:{folder}")


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("config.json", "no model that loads"),
        ("model.safetensors", "holds no"),
        ("tokenizer.json", "no tokenizer"),
        ("preprocessor_config.json", r"lacks preprocessor_config\.json"),
    ],
)
def test_a_missing_file_is_an_error_that_says_so(clip_folder, tmp_path, gone, says):
    folder = copied(clip_folder, tmp_path)
    (folder / gone).unlink()
    with pytest.raises(ModelUnavailable, match=says):
        load_encoder(f"hf:{folder}")


def test_cut_weights_are_an_error(clip_folder, tmp_path):
    folder = copied(clip_folder, tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelUnavailable, match="no model that loads"):
        load_encoder(f"hf:{folder}")


def test_a_model_without_two_towers_is_refused(tmp_path):
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelUnavailable, match="no separate towers"):
        load_encoder(f"hf:{tmp_path}")


def test_a_processor_that_ours_cannot_follow_is_used_itself(clip_folder, tmp_path, monkeypatch):
    from mmsearch.preprocess import Preprocess

    def refuse(config):
        raise ValueError("not like that")

    ours = load_encoder(f"hf:{clip_folder}")
    monkeypatch.setattr(Preprocess, "from_transformers", refuse)
    theirs = load_encoder(f"hf:{clip_folder}")
    assert theirs.image_size == 32
    image = picture((80, 50))
    np.testing.assert_allclose(theirs.prepare(image), ours.prepare(image), atol=1.01 / 255 / 0.26)


def test_a_cached_repository_loads_without_a_network(clip_folder, cached_repo, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)  # calling it would fail
    cached_repo("someone/tiny", clip_folder)
    assert load_encoder("hf:someone/tiny").space.dim == 16


def test_a_failed_fetch_says_what_why_and_what_to_do(monkeypatch):
    def fail(repo, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelUnavailable, match="no route to host"):
        load_encoder("hf:someone/tiny")
