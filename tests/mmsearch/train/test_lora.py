"""Low-rank updates: nothing at first, the weights alone at the end, in every kind of tower."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmsearch.errors import BadSource
from mmsearch.train.config import TrainConfig

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from mmsearch.train.lora import add_lora, merge_lora  # noqa: E402  (only where torch is)
from mmsearch.train.optimizer import freeze  # noqa: E402
from mmsearch.train.trainable import Trainable, open_trainable  # noqa: E402
from tests.mmsearch.train.toys import Toy, toy  # noqa: E402

TEXTS = ["a cat", "two dogs and a cat on a beach"]


def updated(module: torch.nn.Module) -> set[str]:
    """Return the layers with a trained update."""
    return {
        n.partition(".lora_A")[0]
        for n, p in module.named_parameters()
        if ".lora_A" in n and p.requires_grad
    }


def test_updates_start_at_nothing_and_merge_to_w_plus_2_b_a():
    model = toy()
    names, texts = set(model.module.state_dict()), ["red above blue", "a green floor"]
    before = model.encode_texts(texts)
    freeze(model.module, TrainConfig())
    adapters = add_lora(model.module, 2)
    assert updated(model.module) == {"layers.0", "layers.1", "visual.layers.0", "visual.layers.1"}
    assert torch.equal(model.encode_texts(texts), before)
    live = {n for n, p in model.module.named_parameters() if p.requires_grad}
    assert {"text_projection.weight", "visual_projection.weight"} <= live  # heads, in full
    assert not {n for n in live if "base_layer" in n or "norm" in n or "embeddings" in n}
    layer = model.module.layers[0]
    layer.lora_B["default"].weight.data.fill_(0.5)
    update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    expected = layer.base_layer.weight + 2 * update
    during = model.encode_texts(texts)
    merge_lora(adapters)
    assert set(model.module.state_dict()) == names
    assert torch.allclose(model.module.layers[0].weight, expected, rtol=0, atol=1e-6)
    assert torch.allclose(model.encode_texts(texts), during, rtol=0, atol=1e-6)
    assert not torch.allclose(during, before, atol=1e-3)


def test_a_frozen_tower_has_no_updates_though_its_layers_bear_the_same_names():
    model = toy()
    freeze(model.module, TrainConfig(freeze="image"))
    add_lora(model.module, 2)
    assert updated(model.module) == {"layers.0", "layers.1"}


def test_updates_need_a_trained_block():
    module = Toy()
    freeze(module, TrainConfig(freeze="both"))
    with pytest.raises(BadSource, match="lora"):
        add_lora(module, 2)


def hf_base(folder: Path, kind: str) -> str:
    from tests.mmsearch.encoders.hf_models import BUILDERS

    BUILDERS[kind](folder)
    return f"hf:{folder}"


def gpt2_base(folder: Path) -> str:
    """A dual encoder whose text tower holds its weights transposed, in layers of its own."""
    import transformers as tf

    from tests.mmsearch.encoders.hf_models import VISION, WORDS, save_processor, save_tokenizer

    text = tf.GPT2Config(vocab_size=len(WORDS), n_positions=12, n_embd=16, n_layer=1, n_head=2,
                         bos_token_id=2, eos_token_id=3, pad_token_id=0)  # fmt: skip
    config = tf.VisionTextDualEncoderConfig.from_vision_text_configs(
        tf.ViTConfig(**VISION), text, projection_dim=16
    )
    tf.VisionTextDualEncoderModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(folder)
    return f"hf:{folder}"


def open_clip_base(folder: Path) -> str:
    open_clip = pytest.importorskip("open_clip")
    from tests.mmsearch.encoders.test_openclip import TINY

    (folder / "tiny-lora.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.save(open_clip.create_model("tiny-lora").state_dict(), folder / "tiny.pt")
    return f"open_clip:tiny-lora/{folder / 'tiny.pt'}"


BASES = {
    "clip": lambda folder: hf_base(folder, "clip"),
    "siglip": lambda folder: hf_base(folder, "siglip"),
    "vit_bert": lambda folder: hf_base(folder, "vit_bert"),
    "vit_gpt2": gpt2_base,
    "open_clip": open_clip_base,
    "starter": lambda _: "starter",
}
# One layer that must have an update in the image and in the text tower.
LAYERS = {
    "clip": ("vision_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1"),
    "siglip": ("vision_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1"),
    "vit_bert": ("", "text_model.encoder.layer.0.attention.self.query"),
    "vit_gpt2": ("", "text_model.h.0.attn.c_attn"),
    "open_clip": ("visual.transformer.resblocks.0.attn", "transformer.resblocks.0.mlp.c_fc"),
    "starter": ("image.blocks.1.0.conv_pw", "text.encoder.layer.5.attention.self.query"),
}


@pytest.fixture(params=list(BASES))
def base(request, tmp_path) -> tuple[str, Trainable]:
    torch.manual_seed(0)
    model = open_trainable(BASES[request.param](tmp_path))
    model.module.eval()
    return request.param, model


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_updates_change_what_a_tower_says_and_merging_does_not(base):
    name, model = base
    side = min(64, model.dual.image_size)  # the starter's tower takes any size
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))

    def rows() -> torch.Tensor:
        return torch.stack([model.encode_images(pixels), model.encode_texts(TEXTS)])

    names, before = set(model.module.state_dict()), rows().detach()
    old = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    freeze(model.module, TrainConfig())
    adapters = add_lora(model.module, 2)
    assert torch.equal(rows(), before)
    assert set(LAYERS[name]) - {""} <= updated(model.module)
    live = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for n, parameter in live.items():
            if "lora_B" in n:
                parameter.normal_(0, 0.05, generator=generator)
    during = rows()
    during[..., :3].sum().backward()
    assert [n for n, p in live.items() if p.grad is None] == []
    # The frozen weights are the same bits after many passes: a resumed run relies on it.
    frozen = {n.replace("base_layer.", ""): p for n, p in model.module.named_parameters()}
    assert [n for n, p in old.items() if not torch.equal(frozen[n], p)] == []
    merge_lora(adapters)
    assert set(model.module.state_dict()) == names
    assert torch.allclose(rows(), during, rtol=0, atol=2e-6)
    image, text = (during - before).abs().amax(dim=(1, 2))
    assert image > 1e-3
    assert text > 1e-3
