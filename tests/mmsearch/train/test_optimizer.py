"""Which parameters move, how fast, and what is left bit for bit."""

from __future__ import annotations

import pytest

from mmsearch.errors import BadSource, UnknownName
from mmsearch.train.config import TrainConfig

torch = pytest.importorskip("torch")

from mmsearch.train.ema import Ema  # noqa: E402  (only where torch is)
from mmsearch.train.layers import places  # noqa: E402
from mmsearch.train.optimizer import adamw, freeze, groups, rate_at, set_rates  # noqa: E402
from tests.mmsearch.train.toys import Toy, toy  # noqa: E402


def trained(**choices) -> list[str]:
    module = Toy()
    freeze(module, TrainConfig(**choices))
    return [name for name, p in module.named_parameters() if p.requires_grad]


def test_a_place_is_told_by_the_names_of_open_clip_timm_and_transformers():
    found = places(
        [
            "visual.conv1.weight",
            "visual.transformer.resblocks.3.mlp.c_fc.weight",
            "visual.ln_post.weight",
            "visual.proj",
            "transformer.resblocks.1.attn.in_proj_weight",
            "token_embedding.weight",
            "vision_model.encoder.layers.5.mlp.fc1.weight",
            "text_model.h.7.attn.c_attn.weight",
            "text_model.encoder.block.2.layer.0.SelfAttention.q.weight",
            "text_projection.weight",
            "logit_scale",
        ]
    )
    assert [(p.part, p.depth, p.head) for p in found.values()] == [
        ("image", 0, False),
        ("image", 4, False),
        ("image", 7, False),
        ("image", 7, True),
        ("text", 2, False),
        ("text", 0, False),
        ("image", 6, False),
        ("text", 8, False),
        ("text", 3, False),
        ("text", 9, True),
        ("scale", 1, False),
    ]


def test_a_frozen_tower_keeps_its_head_trained():
    names = trained(freeze="image")
    assert "visual_projection.weight" in names
    assert not any(n.startswith("visual.") for n in names)
    assert "embeddings.weight" in names


def test_the_last_block_is_trained_with_what_follows_it():
    names = trained(last_blocks=1)
    assert "visual.layers.1.weight" in names
    assert "visual.norm.weight" in names
    assert "visual.layers.0.weight" not in names
    assert "embeddings.weight" not in names


def test_blocks_can_be_chosen_for_each_tower():
    names = trained(image_blocks=1, text_blocks=2)
    assert "visual.layers.0.weight" not in names
    assert "layers.0.weight" in names


def test_no_decay_acts_on_norms_and_biases_and_each_part_has_its_rate():
    module = Toy()
    config = TrainConfig(lr=1.0, image_lr=2.0, head_lr=3.0, layer_decay=0.5, weight_decay=0.1)
    freeze(module, config)
    named = {id(p): n for n, p in module.named_parameters()}
    got = {
        named[id(p)]: (group["lr"], group["weight_decay"])
        for group in groups(module, config)
        for p in group["params"]
    }
    assert got["visual.layers.1.weight"] == (1.0, 0.1)  # one below the top: 2 * 0.5
    assert got["visual.layers.1.bias"] == (1.0, 0.0)
    assert got["visual.norm.weight"] == (2.0, 0.0)
    assert got["visual.layers.0.weight"] == (0.5, 0.1)
    assert got["embeddings.weight"] == (0.125, 0.1)
    assert got["text_projection.weight"] == (3.0, 0.1)
    assert "logit_scale" not in got


def test_a_step_leaves_what_is_frozen_bit_for_bit():
    model = toy()
    config = TrainConfig(lr=0.1, freeze="text")
    freeze(model.module, config)
    before = {n: p.detach().clone() for n, p in model.module.named_parameters()}
    optimizer = adamw(groups(model.module, config))
    rows = model.encode_images(torch.rand(4, 3, 8, 8)), model.encode_texts(["red", "blue"] * 2)
    (rows[0] - rows[1]).square().sum().backward()
    optimizer.step()
    changed = {n for n, p in model.module.named_parameters() if not torch.equal(p, before[n])}
    assert {"visual.layers.0.weight", "text_projection.weight"} <= changed
    assert not {"embeddings.weight", "layers.0.weight", "layers.1.bias"} & changed


def test_the_rate_rises_to_the_full_and_falls_along_half_a_cosine():
    shares = [rate_at(step, 12, 0.25) for step in range(12)]
    assert shares[:3] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert shares[3] == pytest.approx(1.0)
    assert rate_at(6, 9, 1 / 3) == pytest.approx(0.5)
    assert shares[3:] == sorted(shares[3:], reverse=True)
    assert shares[-1] > 0
    assert rate_at(0, 5, 0.0) == 1.0


def test_each_group_keeps_its_own_rate_under_the_schedule():
    one = torch.nn.Parameter(torch.zeros(1))
    optimizer = adamw([{"params": [one], "lr": 3.0, "rate": 3.0}])
    set_rates(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == 1.5


def test_the_average_by_hand():
    weight = torch.nn.Parameter(torch.zeros(1))
    average = Ema({"w": weight}, decay=0.9)
    weight.data.fill_(11.0)
    average.update()  # decay min(0.9, 2 / 11): 0 * 2/11 + 11 * 9/11
    assert average.mean["w"].item() == pytest.approx(9.0)
    with average.applied():
        assert weight.item() == pytest.approx(9.0)
    assert weight.item() == 11.0


def test_without_decay_there_is_no_average():
    weight = torch.nn.Parameter(torch.ones(1))
    average = Ema({"w": weight}, decay=0.0)
    average.update()
    with average.applied():
        assert weight.item() == 1.0


@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ({"loss": "triplet"}, UnknownName),
        ({"freeze": "all"}, UnknownName),
        ({"batch_size": 1}, BadSource),
        ({"lr": 0.0}, BadSource),
        ({"ema": 1.0}, BadSource),
        ({"epochs": 0}, BadSource),
    ],
)
def test_a_choice_out_of_range_is_named(choice, error):
    with pytest.raises(error, match=next(iter(choice)).split("_")[0]):
        TrainConfig(**choice)
