"""The frozen part of a picture tower worked out once: the same steps as through the whole tower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  (only where torch is)

from mmsearch.errors import BadSource  # noqa: E402
from mmsearch.train.augment import Augment  # noqa: E402
from mmsearch.train.config import TrainConfig  # noqa: E402
from mmsearch.train.loading import cut_epoch, epoch_order  # noqa: E402
from mmsearch.train.loop import Trainer  # noqa: E402
from mmsearch.train.measure import features  # noqa: E402
from mmsearch.train.optimizer import freeze  # noqa: E402
from mmsearch.train.pairs import joined, train_and_heldout  # noqa: E402
from mmsearch.train.run import VIEWS, Job, train  # noqa: E402
from mmsearch.train.trainable import Cut, Trainable  # noqa: E402
from mmsearch.train.views import Lower, Views  # noqa: E402
from tests.mmsearch.train.toys import SIZE, blob_pairs, blobs, toy  # noqa: E402

CONFIG = {
    "epochs": 2,
    "batch_size": 16,
    "lr": 0.01,
    "head_lr": 0.01,
    "image_blocks": 1,
    "patience": 0,
}


class Below(nn.Module):
    """The toy's picture tower without its last block."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.first = tower.visual["layers"][0]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.first(nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1)))


def cuttable() -> Trainable:
    model = toy()
    tower = model.module

    def upper(maps: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(tower.visual["layers"][1](maps.float()))
        return tower.visual_projection(tower.visual["norm"](x))

    return replace(model, cut=lambda blocks: Cut(Below(tower), upper) if blocks == 1 else None)


def lower_of(model: Trainable) -> Lower:
    return Lower(model.cut(1).lower, model.dual, "toy 1", torch.float32)


def made(model: Trainable, pairs, folder, *, count=1, augment=None, say=lambda _: None) -> Views:
    lower = lower_of(model)
    return lower.views(pairs, folder, augment=augment, count=count, seed=0, workers=2, say=say)


def test_a_cut_tower_gives_the_rows_of_the_whole_one(tmp_path):
    model, pairs = cuttable(), blob_pairs(tmp_path)
    views = made(model, pairs, tmp_path / "views")
    whole = features(model, pairs, workers=2)
    cut = features(model.above(model.cut(1)), pairs, workers=2, views=views)
    assert abs(whole[0] - cut[0]).max() < 2e-3  # the maps are stored in float16
    assert (whole[1] == cut[1]).all()


def test_training_on_views_takes_the_steps_of_training_on_pictures(tmp_path):
    ended = []
    for cut in (False, True):
        config = TrainConfig(**CONFIG, augment=False)
        model, pairs = cuttable(), blob_pairs(tmp_path)
        freeze(model.module, config)
        views = made(model, pairs, tmp_path / "views") if cut else None
        seen = model.above(model.cut(1)) if cut else model
        run = Trainer(seen, pairs, config, views=views)
        run.run()
        ended.append({n: p.detach().clone() for n, p in run.live.items()})
    for name, value in ended[0].items():
        assert torch.allclose(value, ended[1][name], atol=0.02), name


def test_views_differ_and_are_made_once(tmp_path):
    model, pairs, said = cuttable(), blob_pairs(tmp_path), []
    augment = Augment(0.3, "off", 0.5)
    first = made(model, pairs, tmp_path, count=3, augment=augment, say=said.append)
    assert first.maps.shape == (3, len(pairs), 24)
    assert (abs(first.maps[0] - first.maps[1]).max(1) > 0).all()
    assert len(said) == 3
    again = made(model, pairs, tmp_path, count=3, augment=augment, say=said.append)
    assert (again.maps == first.maps).all()
    assert len(said) == 3  # nothing was made
    other = made(model, pairs, tmp_path, count=3, augment=Augment(0.9, "off", 0.5))
    assert (other.maps != first.maps).any()


def test_views_cut_off_half_way_are_made_anew(tmp_path):
    model, pairs = cuttable(), blob_pairs(tmp_path)
    whole = made(model, pairs, tmp_path / "whole")
    path = next((tmp_path / "whole").glob("*[0-9a-f].npy"))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / path.with_suffix(".part").name).write_bytes(path.read_bytes()[:400])
    assert (made(model, pairs, tmp_path / "cut").maps == whole.maps).all()


def test_a_picture_that_does_not_open_is_left_out(tmp_path):
    model, pairs = cuttable(), blob_pairs(tmp_path)
    (tmp_path / "002.png").write_bytes(b"no picture")
    broken = next(i for i, row in enumerate(pairs.rows) if row.path.endswith("002.png"))
    views = made(model, pairs, tmp_path / "views")
    assert [i for i, opened in enumerate(views.opened) if not opened] == [broken]
    images, _ = features(model.above(model.cut(1)), pairs, workers=1, views=views)
    assert (images[broken] == 0).all()
    config = TrainConfig(**CONFIG)
    Trainer(model.above(model.cut(1)), pairs, config, views=views).run()


def test_a_model_that_cannot_be_cut_is_refused(tmp_path, monkeypatch):
    data = str(blobs(tmp_path / "data"))
    pairs, heldout = train_and_heldout([data], share=0.1, seed=0)
    monkeypatch.setattr("mmsearch.train.run.open_trainable", lambda spec: toy())
    job = Job("toy", tmp_path / "out", pairs, heldout, config=TrainConfig(cache_views=2))
    with pytest.raises(BadSource, match="cache_views is for a starter"):
        train(job)


def test_a_run_on_views_leaves_none_behind(tmp_path, monkeypatch):
    data = str(blobs(tmp_path / "data"))
    pairs, heldout = train_and_heldout([data], share=0.1, seed=0)
    monkeypatch.setattr("mmsearch.train.run.open_trainable", lambda spec: cuttable())
    choices = {**CONFIG, "epochs": 20, "cache_views": 2, "captions": 2}
    job = Job("toy", tmp_path / "out", pairs, heldout, config=TrainConfig(**choices))
    report = train(job)
    assert report["heldout"]["tuned"]["text_to_image"]["R@1"] > 0
    assert not (tmp_path / "out" / VIEWS).exists()


def test_two_captions_of_a_picture_are_two_texts(tmp_path):
    config = TrainConfig(**CONFIG, captions=2)
    run = Trainer(toy(), blob_pairs(tmp_path), config)
    batch = next(run._loader.batches(0, [range(4)]))
    assert batch.caption_ids.shape == (4, 2)
    assert all(batch.texts[2 * i] != batch.texts[2 * i + 1] for i in range(4))
    assert [len(part.texts) for part in batch.cut(3)] == [6, 2]
    whole, parts = Trainer(toy(), blob_pairs(tmp_path), config), None
    whole.run()
    parts = Trainer(toy(), blob_pairs(tmp_path), replace(config, chunk=5))
    parts.run()
    for name, value in whole.live.items():
        assert torch.allclose(value, parts.live[name], atol=1e-4), name


def test_several_sources_are_trained_on_together(tmp_path):
    one, two = (str(blobs(tmp_path / name, n=40)) for name in "ab")
    pairs, heldout = train_and_heldout([one, two], share=0.1, seed=0)
    assert (len(pairs), len(heldout)) == (60, 20)
    assert len({row.key for row in pairs.rows}) == 60
    assert pairs.sources is not None
    assert pairs.sources.tolist() == [0] * 30 + [1] * 30
    alone, _ = train_and_heldout([one], share=0.1, seed=0)
    assert joined([alone]) is alone
    assert SIZE == 8


@pytest.mark.parametrize("size", [4, 7, 8, 30])
def test_batches_of_one_source_each_are_as_many_as_mixed_ones(size):
    sources = np.repeat([0, 1, 2], [30, 12, 5])
    order = epoch_order(47, seed=3, epoch=1)
    batches = cut_epoch(order, size, sources)
    assert [len(batch) for batch in batches] == [size] * (47 // size)
    assert len(np.unique(np.concatenate(batches))) == 47 // size * size
    pure = sum(len(set(sources[batch])) == 1 for batch in batches)
    assert pure >= 30 // size + 12 // size + 5 // size
    assert batches[0].tolist() != sorted(batches[0].tolist())


def test_a_run_with_batches_of_one_source_each(tmp_path):
    one, two = (str(blobs(tmp_path / name, n=40)) for name in "ab")
    pairs, _ = train_and_heldout([one, two], share=0.1, seed=0)
    seen = []
    trainer = Trainer(toy(), pairs, TrainConfig(epochs=2, batch_size=10, one_source=True))
    step = trainer.step
    trainer.step = lambda batch: (seen.append(batch.groups.tolist()), step(batch))[1]
    trainer.run()
    assert len(seen) == 12
    assert all(max(groups) < 30 or min(groups) >= 30 for groups in seen)
