"""open_clip's models, with tiny random weights made here; the reference is open_clip itself."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from mmsearch.encoders import load_encoder  # noqa: E402
from mmsearch.errors import ModelUnavailable, UnknownName  # noqa: E402
from mmsearch.types import Encoder  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TEXTS = ["a red cat", "two dogs on a long, long beach", ""]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {
        "context_length": 12,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of the architecture `tiny-test`, which open_clip then knows."""
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "tiny-test.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    path = folder / "tiny.pt"
    torch.save(open_clip.create_model("tiny-test").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def reference(checkpoint):
    model, _, prepare = open_clip.create_model_and_transforms(
        "tiny-test", pretrained=str(checkpoint)
    )
    return model.eval(), prepare


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return load_encoder(f"open_clip:tiny-test/{checkpoint}", device="cpu")


def picture(size=(80, 50)):
    grid = np.indices((size[1], size[0])).sum(0)
    return Image.fromarray(np.stack([grid, grid * 3, 255 - grid], -1).astype(np.uint8))


def test_it_is_an_encoder_of_the_configs_dimensions(encoder):
    assert isinstance(encoder, Encoder)
    assert (encoder.space.dim, encoder.image_size) == (16, 32)
    assert encoder.space.name.startswith("tiny-test/")


def test_texts_agree_with_open_clip(encoder, reference):
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("tiny-test")(TEXTS)
        expected = reference[0].encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS * 40)[-3:], expected, atol=1e-5)


def test_pictures_agree_with_open_clip(encoder, reference):
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = reference[0].encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(pixels.numpy()), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(80, 50), (31, 90), (32, 32), (20, 21)])
def test_prepare_agrees_with_open_clips_own_transform(encoder, reference, size):
    expected = reference[1](picture(size)).numpy()
    # Half a grey level, over the standard deviation of the normalisation.
    np.testing.assert_allclose(encoder.prepare(picture(size)), expected, atol=0.5 / 255 / 0.26)


def test_no_input_gives_no_rows(encoder):
    assert encoder.encode_texts([]).shape == (0, 16)
    assert encoder.encode_images(np.empty((0, 3, 32, 32), np.float32)).shape == (0, 16)


def test_the_space_follows_the_weights_not_the_file(encoder, checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    same, other = tmp_path / "same.pt", tmp_path / "other.pt"
    torch.save(dict(reversed(state.items())), same)
    assert load_encoder(f"open_clip:tiny-test/{same}").space == encoder.space
    state["logit_scale"] = state["logit_scale"] + 1
    torch.save(state, other)
    assert load_encoder(f"open_clip:tiny-test/{other}").space != encoder.space


def test_safetensors_load_too(encoder, checkpoint, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "tiny.safetensors"
    state = torch.load(checkpoint, weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    assert load_encoder(f"open_clip:tiny-test/{path}").space == encoder.space


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code from a checkpoint ran')",)


def test_a_checkpoint_with_code_in_it_is_refused(checkpoint, tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(ModelUnavailable, match="never loaded"):
        load_encoder(f"open_clip:tiny-test/{path}")
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ModelUnavailable, match="never loaded"):
        load_encoder(f"open_clip:tiny-test/{path}")


def test_a_checkpoint_of_another_architecture_is_refused(checkpoint, tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        load_encoder(f"open_clip:tiny-test/{path}")


def test_names_that_open_clip_does_not_know_are_guessed(checkpoint):
    with pytest.raises(UnknownName, match="did you mean 'ViT-B-32'"):
        load_encoder("open_clip:ViT-B32/openai")
    with pytest.raises(UnknownName, match="did you mean 'laion2b_s34b_b79k'"):
        load_encoder("open_clip:ViT-B-32/laion2b_s34b_b79")
    with pytest.raises(ModelUnavailable, match=r"/no/such\.pt does not exist"):
        load_encoder("open_clip:tiny-test//no/such.pt")


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "meta"])
def test_a_device_that_is_not_there_is_an_error(checkpoint, device):
    with pytest.raises(ModelUnavailable, match="device"):
        load_encoder(f"open_clip:tiny-test/{checkpoint}", device=device)


def test_nan_in_the_weights_is_an_error_not_a_row(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    state["visual.proj"][0, 0] = float("nan")
    path = tmp_path / "nan.pt"
    torch.save(state, path)
    encoder = load_encoder(f"open_clip:tiny-test/{path}", device="cpu")
    with pytest.raises(ModelUnavailable, match="no usable vector"):
        encoder.encode_images(np.ones((1, 3, 32, 32), np.float32))


def test_weights_stay_float32_on_the_cpu(encoder):
    assert encoder.dtype == torch.float32


@pytest.mark.gpu
def test_half_precision_on_a_gpu_agrees_with_the_cpu(encoder, checkpoint):
    on_gpu = load_encoder(f"open_clip:tiny-test/{checkpoint}", device="cuda")
    cosine = (on_gpu.encode_texts(TEXTS) * encoder.encode_texts(TEXTS)).sum(axis=1)
    assert cosine.min() > 0.999
    pixels = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    cosine = (on_gpu.encode_images(pixels) * encoder.encode_images(pixels)).sum(axis=1)
    assert cosine.min() > 0.999
