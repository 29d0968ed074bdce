"""Exports of a real architecture in Immich's layout agree with the torch model they came from."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from mmsearch.encoders import load_encoder  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

TEXTS = ["a red cat", "Two dogs &amp; a beach", "", "very " * 30]
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


class Tower(torch.nn.Module):
    def __init__(self, encode):
        super().__init__()
        self.encode = encode

    def forward(self, rows):
        return self.encode(rows)


def write_clip_tokenizer(folder):
    """Write CLIP's tokenizer.json from the vocabulary that open_clip carries."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    ours = open_clip.SimpleTokenizer(context_length=12)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=ours.encoder, merges=list(ours.bpe_ranks), end_of_word_suffix="</w>"
        )  # as openai/clip-vit-base-patch32 has it
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    end = "<|endoftext|>", 49407
    tokenizer.post_processor = processors.RobertaProcessing(
        end, ("<|startoftext|>", 49406), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<|endoftext|>"}))


def write_tower(path, encode, rows, name, *, dynamic):
    path.parent.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tower(encode),
            (rows,),
            str(path),
            input_names=[name],
            output_names=["vector"],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if dynamic else None,
            dynamo=True,
            external_data=dynamic,
            verbose=False,
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("architecture")
    (folder / "tiny-export.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    return open_clip.create_model("tiny-export").eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["batch of one", "any batch"])
def folder(request, model, tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    dynamic = request.param == "any batch"
    n = 2 if dynamic else 1
    torch.backends.mha.set_fastpath_enabled(False)
    images, texts = torch.rand(n, 3, 32, 32), torch.ones(n, 12, dtype=torch.int32)
    write_tower(root / "visual/model.onnx", model.encode_image, images, "image", dynamic=dynamic)
    write_tower(root / "textual/model.onnx", model.encode_text, texts, "text", dynamic=dynamic)
    torch.backends.mha.set_fastpath_enabled(True)
    write_clip_tokenizer(root / "textual")
    preprocess = open_clip.get_model_preprocess_cfg(model)
    (root / "visual" / "preprocess_cfg.json").write_text(json.dumps(preprocess))
    (root / "config.json").write_text(json.dumps(CONFIG))
    return root


def test_texts_agree_with_torch(folder, model):
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer("tiny-export")(TEXTS)
        expected = model.encode_text(tokens, normalize=True).numpy()
    rows = load_encoder(f"onnx:{folder}").encode_texts(TEXTS)
    np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.mark.parametrize("towers", ["both", "text"])
def test_the_settings_for_one_query_change_no_vector(folder, towers):
    brief = load_encoder(f"onnx:{folder}", towers="text", threads=1)
    rows = load_encoder(f"onnx:{folder}", towers=towers, threads=2).encode_texts(TEXTS)
    np.testing.assert_allclose(brief.encode_texts(TEXTS), rows, atol=1e-6)


def test_pictures_agree_with_torch(folder, model):
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.encode_image(pixels, normalize=True).numpy()
    rows = load_encoder(f"onnx:{folder}").encode_images(pixels.numpy())
    np.testing.assert_allclose(rows, expected, atol=1e-5)
