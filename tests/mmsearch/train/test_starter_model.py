"""The starter in torch: out of its bundle and back, cut in two, grown."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
for needed in ("timm", "transformers", "onnx"):
    pytest.importorskip(needed)

from mmsearch.encoders import STARTER  # noqa: E402  (only where torch is)
from mmsearch.errors import ModelUnavailable  # noqa: E402
from mmsearch.train.export_towers import write_starter  # noqa: E402
from mmsearch.train.frozen_texts import FrozenTexts  # noqa: E402
from mmsearch.train.heads import Head, TwinHead  # noqa: E402
from mmsearch.train.release_starter import release  # noqa: E402
from mmsearch.train.second_starter import join, narrow, take_off  # noqa: E402
from mmsearch.train.starter_image import (  # noqa: E402
    LEVELS,
    PLAIN,
    QUARTERS,
    SMALLER,
    TOP_WIDTH,
    ImageTower,
    Sight,
    imagenet_tower,
)
from mmsearch.train.starter_model import StarterModel, grow, load_starter  # noqa: E402
from mmsearch.train.trainable import describe  # noqa: E402

TEXTS = ["two dogs in the snow", "a red car"]


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(3, 3, 260, 260, generator=torch.Generator().manual_seed(0))


def single(sight: Sight, seed: int = 0) -> StarterModel:
    """ImageNet's tower, nearly, and the shipped starter's words; heads that know nothing."""
    torch.manual_seed(seed)
    image, text = (
        Head(torch.rand(width), torch.rand(width) + 0.5, hidden=8, dim=6, dropout=0.4)
        for width in (sight.width, 384)
    )
    words = load_starter(STARTER)[0].module.text
    tower = imagenet_tower(260, sight)
    with torch.no_grad():  # as if trained further, or two equal stages would be written as one
        for parameter in [*tower.blocks[5:].parameters(), *tower.top.parameters()]:
            parameter.mul_(1 + 0.01 * seed)
    return StarterModel(tower, words, (image, text)).eval()


def unit(n: int) -> torch.Tensor:
    """Return (n, 18) unit rows."""
    return torch.nn.functional.normalize(torch.randn(n, 18), dim=1)


def twin(share: float = 0.25) -> StarterModel:
    return join(single(LEVELS), single(QUARTERS, seed=1), share=share).eval()


def triple() -> StarterModel:
    """Two branches of one tower, and a smaller tower beside it."""
    return join(twin(), single(SMALLER, seed=2), share=0.5).eval()


@torch.no_grad()
def test_a_starter_written_and_read_again_is_the_same(tmp_path, pixels):
    dual, _ = load_starter(STARTER)
    write_starter(dual.module, STARTER, tmp_path)
    again, _ = load_starter(tmp_path)
    assert torch.allclose(dual.images(pixels), again.images(pixels), atol=1e-5)
    tokens = dual.tokenize(TEXTS)
    assert torch.allclose(dual.texts(tokens), again.texts(tokens), atol=1e-5)


@torch.no_grad()
def test_a_joined_starter_written_as_it_ships_and_read_again_is_nearly_the_same(tmp_path, pixels):
    model = triple()
    write_starter(model, STARTER, tmp_path / "model")
    describe(tmp_path, "starter", base="", alpha=0.0, forced=False)
    release(tmp_path, tmp_path / "out", name="starter-9")
    dual, bundle = load_starter(tmp_path / "out")
    assert (dual.module.image_head.dim, bundle.name) == (18, "starter-9")
    same = (dual.images(pixels) * model.images(pixels)).sum(1)
    assert same.min() > 0.9999  # float16
    tokens = dual.tokenize(TEXTS)
    assert (dual.texts(tokens) * model.texts(tokens)).sum(1).min() > 0.9999


@torch.no_grad()
def test_a_narrowed_starter_keeps_its_cosines(tmp_path, pixels):
    model = triple()
    tokens = load_starter(STARTER)[0].tokenize(TEXTS)
    before = torch.cat([model.images(pixels), model.texts(tokens)])
    # As many dimensions as there are rows hold all of them.
    assert narrow(model, before, dim=len(before)) == pytest.approx(1)
    after = torch.cat([model.images(pixels), model.texts(tokens)])
    assert after.shape == (len(before), len(before))
    assert torch.allclose(after @ after.T, before @ before.T, atol=1e-4)
    write_starter(model, STARTER, tmp_path)
    dual, bundle = load_starter(tmp_path)
    assert bundle.dim == len(before)
    assert torch.allclose(dual.images(pixels), after[: len(pixels)], atol=1e-4)
    assert torch.allclose(dual.texts(tokens), after[len(pixels) :], atol=1e-4)


def test_only_what_was_joined_is_narrowed():
    with pytest.raises(ModelUnavailable, match="only what was joined"):
        narrow(single(LEVELS), torch.eye(6), dim=3)
    with pytest.raises(ModelUnavailable, match="vectors of 6 cannot be narrowed to 7"):
        narrow(twin(), torch.eye(6), dim=7)


@torch.no_grad()
def test_a_starter_without_hubness_says_so_in_its_vectors(tmp_path, pixels):
    model = triple()
    words = load_starter(STARTER)[0].tokenize(TEXTS)
    images, texts = model.images(pixels), model.texts(words)
    some, bank = unit(40), unit(50)
    take_off(model, some, bank, sharpness=25, weight=0.5)
    new = model.images(pixels), model.texts(words)
    for rows in new:
        assert rows.shape[1] == images.shape[1] + 2
        assert torch.allclose(rows.norm(dim=1), torch.ones(len(rows)), atol=1e-5)

    def hubness(rows):
        return torch.log(torch.exp(25 * rows @ bank.T).mean(1)) / 25

    wanted = texts @ images.T - 0.5 * (hubness(images) - hubness(some).mean())
    share = (new[1][:, :-2] @ new[0][:, :-2].T / (texts @ images.T)).mean()
    assert torch.allclose(new[1] @ new[0].T, share * wanted, atol=1e-4)
    write_starter(model, STARTER, tmp_path / "model")
    describe(tmp_path, "starter", base="", alpha=0.0, forced=False)
    release(tmp_path, tmp_path / "out", name="starter-9")
    for folder in (tmp_path / "model", tmp_path / "out"):
        dual, bundle = load_starter(folder)
        assert bundle.dim == new[0].shape[1]
        assert (dual.images(pixels) * new[0]).sum(1).min() > 0.9999
        assert (dual.texts(words) * new[1]).sum(1).min() > 0.9999
    with pytest.raises(ModelUnavailable, match="before"):
        take_off(model, some, bank)
    with pytest.raises(ModelUnavailable, match="last"):
        join(model, single(SMALLER, seed=3), share=0.5)
    with pytest.raises(ModelUnavailable, match="only what was joined"):
        narrow(model, torch.eye(6), dim=3)


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
@pytest.mark.parametrize("made", [twin, triple])
@torch.no_grad()
def test_both_parts_of_a_cut_tower_are_the_whole(pixels, made, blocks):
    model = made()
    maps = model.lower(blocks)(pixels)
    assert torch.allclose(model.upper(maps, blocks), model.images(pixels), atol=1e-5)


@torch.no_grad()
def test_a_cosine_of_a_joined_starter_is_the_weighted_mean_of_both(pixels):
    tokens = load_starter(STARTER)[0].tokenize(TEXTS)
    first, second = single(LEVELS), single(QUARTERS, seed=1)
    apart = [m.texts(tokens) @ m.images(pixels).T for m in (first, second)]
    both = join(first, second, share=0.25).eval()
    rows = both.images(pixels)
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)
    wanted = 0.75 * apart[0] + 0.25 * apart[1]
    assert torch.allclose(both.texts(tokens) @ rows.T, wanted, atol=1e-5)


@torch.no_grad()
def test_only_starters_that_share_their_towers_are_joined():
    other = single(QUARTERS)
    next(iter(other.image.blocks[4].parameters())).add_(0.1)
    with pytest.raises(ModelUnavailable, match="first picture stages of the two starters differ"):
        join(single(LEVELS), other, share=0.5)
    with pytest.raises(ModelUnavailable, match="cannot be the second"):
        join(single(LEVELS), twin(), share=0.5)


def test_a_twin_sees_its_own_features_or_all():
    heads = [Head(torch.zeros(2), torch.ones(2), hidden=4, dim=3, dropout=0.0) for _ in "ab"]
    rows = torch.rand(5, 2)
    apart = TwinHead(*heads, share=0.5, apart=True)(torch.cat([rows, -rows], 1))
    shared = TwinHead(*heads, share=0.5, apart=False)(rows)
    assert torch.allclose(apart[:, :3], shared[:, :3])
    assert not torch.allclose(apart[:, 3:], shared[:, 3:], atol=1e-3)


def test_what_a_head_sees_of_a_map():
    top = torch.zeros(1, TOP_WIDTH, 1, 1)
    maps = torch.zeros(1, 352, 3, 3)
    maps[0, 0] = torch.tensor([[4.0, 0, 0], [0, 0, 0], [0, 0, 8]])
    seen = Sight((6,), quarters=True).features(top, {6: maps})[0, TOP_WIDTH:]
    assert seen.numel() == 6 * 352 == Sight((6,), quarters=True).width - TOP_WIDTH
    mean = 12 / 9
    assert seen[0] == pytest.approx(mean)
    assert seen[352] == pytest.approx((80 / 9 - mean**2) ** 0.5, abs=1e-5)
    # Quarters of 2 by 2 places, which share the one in the middle.
    assert [float(seen[i * 352]) for i in (2, 3, 4, 5)] == [1.0, 0.0, 0.0, 2.0]


@torch.no_grad()
def test_a_grown_starter_gives_what_it_gave(pixels):
    model = single(PLAIN)
    before = model.images(pixels)
    grow(model, [pixels])
    assert torch.allclose(model.images(pixels), before, atol=1e-5)
    assert model.image_head.linear.weight.shape[1] == LEVELS.width
    rows = model.image(pixels)
    levels = ((rows - model.image_head.mean) / model.image_head.std)[:, TOP_WIDTH:]
    assert torch.allclose(levels.mean(0), torch.zeros(LEVELS.width - TOP_WIDTH), atol=1e-3)
    model.image_head.linear.weight[:, TOP_WIDTH:] = 0.1
    assert not torch.allclose(model.images(pixels), before, atol=1e-2)


def test_a_tower_cut_above_a_map_that_the_head_sees_is_refused():
    tower = ImageTower(LEVELS)
    with pytest.raises(ValueError, match="stage 6 is above"):
        tower.above(6, torch.zeros(1, 208, 9, 9))


def test_a_frozen_text_tower_is_asked_once_a_text():
    asked = []

    def lower(tokens):
        asked.append(len(tokens["input_ids"]))
        return tokens["input_ids"].float().sum(1, keepdim=True)

    texts = FrozenTexts(torch.nn.Identity(), lower, lambda rows: 2 * rows)
    ids = torch.tensor([[1, 2, 0], [1, 2, 3], [1, 2, 0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0]])
    assert texts({"input_ids": ids, "attention_mask": mask})[:, 0].tolist() == [6, 12, 6]
    longer = {"input_ids": ids[:1, :2], "attention_mask": mask[:1, :2]}  # padded otherwise
    assert texts(longer)[:, 0].tolist() == [6]
    assert asked == [2]
