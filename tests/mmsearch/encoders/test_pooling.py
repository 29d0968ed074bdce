"""Text towers without a pooler: T5's encoder and GPT-2 inside a VisionTextDualEncoder."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("transformers")

from mmsearch.encoders.checkpoint import hf_dual  # noqa: E402
from mmsearch.encoders.pooling import pool  # noqa: E402
from mmsearch.encoders.torch_backend import TorchEncoder  # noqa: E402
from tests.mmsearch.encoders.hf_models import TEXT, VISION, save_processor, save_tokenizer  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize(
    ("how", "expected"),
    [("cls", [[1.0], [5.0]]), ("mean", [[1.5], [5.5]]), ("last", [[2.0], [6.0]])],
)
def test_padding_on_either_side_is_left_out(how: str, expected: list[list[float]]) -> None:
    hidden = torch.tensor([[[1.0], [2.0], [9.0]], [[9.0], [5.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert pool(hidden, mask, how).tolist() == expected


def text_config(kind: str):
    words = TEXT["vocab_size"]
    if kind == "t5":
        return tf.T5Config(vocab_size=words, d_model=16, d_ff=32, d_kv=8, num_layers=2,
                           num_decoder_layers=1, num_heads=2, decoder_start_token_id=0)  # fmt: skip
    return tf.GPT2Config(vocab_size=words, n_embd=16, n_layer=2, n_head=2, n_positions=32)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_a_tower_of_this_kind_embeds_texts_and_pictures(kind: str, tmp_path: Path) -> None:
    config = tf.VisionTextDualEncoderConfig.from_vision_text_configs(
        tf.ViTConfig(**VISION), text_config(kind), projection_dim=16
    )
    tf.VisionTextDualEncoderModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    save_processor(
        tmp_path, image_processor_type="ViTImageProcessor", size={"height": 32, "width": 32},
        do_center_crop=None, crop_size=None,
    )  # fmt: skip
    encoder = TorchEncoder(hf_dual(tmp_path), threads=1, device="cpu")
    rows = encoder.encode_texts(["a red car", "the blue sky over a red car"])
    assert rows.shape == (2, 16)
    assert abs(float(rows[0] @ rows[1])) < 0.99999
    # A text means the same alone and beside a longer one: padding is no part of it.
    assert encoder.encode_texts(["a red car"])[0] == pytest.approx(rows[0], abs=1e-5)
    assert encoder.space == TorchEncoder(hf_dual(tmp_path), threads=1, device="cpu").space
