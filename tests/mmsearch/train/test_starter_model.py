"""The starter in torch: out of its bundle and back, cut in two, grown."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
for needed in ("timm", "transformers", "onnx"):
    pytest.importorskip(needed)

from mmsearch.encoders import STARTER  # noqa: E402  (only where torch is)
from mmsearch.train.export_towers import write_starter  # noqa: E402
from mmsearch.train.starter_model import (  # noqa: E402
    LEVEL_WIDTH,
    TOP_WIDTH,
    ImageTower,
    StarterModel,
    grow,
    load_starter,
)

TEXTS = ["two dogs in the snow", "a red car"]


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(3, 3, 260, 260, generator=torch.Generator().manual_seed(0))


def levelless() -> StarterModel:
    """The shipped starter with a picture tower that shows its last map alone."""
    model = load_starter(STARTER)[0].module
    head = model.image_head
    model.image.levels = False
    head.mean, head.std = head.mean[:TOP_WIDTH], head.std[:TOP_WIDTH]
    for layer in (head.linear, head.mlp[0]):
        layer.weight = torch.nn.Parameter(layer.weight[:, :TOP_WIDTH].detach().clone())
    return model.eval()


@torch.no_grad()
def test_a_starter_written_and_read_again_is_the_same(tmp_path, pixels):
    dual, _ = load_starter(STARTER)
    write_starter(dual.module, STARTER, tmp_path)
    again, _ = load_starter(tmp_path)
    assert torch.allclose(dual.images(pixels), again.images(pixels), atol=1e-5)
    tokens = dual.tokenize(TEXTS)
    assert torch.allclose(dual.texts(tokens), again.texts(tokens), atol=1e-5)


@pytest.mark.parametrize("blocks", [0, 2, 3])
@torch.no_grad()
def test_both_parts_of_a_cut_tower_are_the_whole(pixels, blocks):
    model = load_starter(STARTER)[0].module
    maps = model.lower(blocks)(pixels)
    assert torch.allclose(model.upper(maps, blocks), model.images(pixels), atol=1e-5)


@torch.no_grad()
def test_a_grown_starter_gives_what_it_gave(pixels):
    model = levelless()
    before = model.images(pixels)
    grow(model, [pixels])
    assert torch.allclose(model.images(pixels), before, atol=1e-5)
    assert model.image_head.linear.weight.shape[1] == TOP_WIDTH + LEVEL_WIDTH
    rows = model.image(pixels)
    levels = ((rows - model.image_head.mean) / model.image_head.std)[:, TOP_WIDTH:]
    assert torch.allclose(levels.mean(0), torch.zeros(LEVEL_WIDTH), atol=1e-3)
    model.image_head.linear.weight[:, TOP_WIDTH:] = 0.1
    assert not torch.allclose(model.images(pixels), before, atol=1e-2)


def test_a_tower_cut_above_a_map_that_the_head_sees_is_refused(pixels):
    tower = ImageTower(levels=True)
    with pytest.raises(ValueError, match="stage 6 is above"):
        tower.above(6, torch.zeros(1, 208, 9, 9))
