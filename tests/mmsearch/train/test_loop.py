"""The loop: in parts, in two processes, killed and taken up again: always the same weights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mmsearch.errors import BadSource  # noqa: E402  (only where torch is)
from mmsearch.train.config import TrainConfig  # noqa: E402
from mmsearch.train.curve import draw, read_log  # noqa: E402
from mmsearch.train.gradcache import backward  # noqa: E402
from mmsearch.train.loop import RESUME, Trainer, uses_bfloat16  # noqa: E402
from mmsearch.train.losses import PairLoss  # noqa: E402
from mmsearch.train.optimizer import freeze  # noqa: E402
from mmsearch.train.saving import read_state  # noqa: E402
from mmsearch.train.world import World, join, leave  # noqa: E402
from tests.mmsearch.train.toys import blob_pairs, toy  # noqa: E402

CONFIG = {"epochs": 3, "batch_size": 16, "lr": 0.01, "head_lr": 0.01, "workers": 2, "patience": 0}


def trainer(folder: Path, *, out: Path | None = None, dropout: float = 0.0, **choices) -> Trainer:
    if out is not None:
        out.mkdir(exist_ok=True)
    config = TrainConfig(**{**CONFIG, **choices})
    model = toy(dropout)
    freeze(model.module, config)
    return Trainer(model, blob_pairs(folder), config, folder=out, world=join())


def weights(of: Trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in of.live.items()}


def assert_equal(one, other, tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=0, atol=tolerance), name


def test_gradients_in_parts_are_those_of_the_plain_backward_pass():
    model, loss = toy(), PairLoss("clip")
    pixels = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    texts = [f"{a} above {b}" for a in ("red", "blue", "green") for b in ("white", "black") * 2]
    loss(model.encode_images(pixels), model.encode_texts(texts)).backward()
    plain = {n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None}
    model.module.zero_grad()
    backward(
        [slice(0, 5), slice(5, 10), slice(10, 12)],
        lambda part: (model.encode_images(pixels[part]), model.encode_texts(texts[part])),
        lambda images, texts: loss(images, texts),
        World(),
    )
    cached = {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}
    assert len(plain) > 8
    assert_equal(plain, cached, 1e-5)


def test_the_second_pass_of_a_part_drops_out_the_same_units_as_the_first():
    # With dropout the cut itself changes what is drawn, so the reference is made by hand: the
    # graph of the first pass kept.
    model, loss = toy(dropout=0.5), PairLoss("clip")
    model.module.train()
    pixels = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    texts = ["red above blue", "a green floor", "white below black", "purple"] * 2
    parts = [slice(0, 4), slice(4, 8)]

    def encode(part):
        return model.encode_images(pixels[part]), model.encode_texts(texts[part])

    torch.manual_seed(5)
    images, texts_ = (torch.cat(side) for side in zip(*map(encode, parts), strict=True))
    loss(images, texts_).backward()
    plain = {n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None}
    model.module.zero_grad()
    torch.manual_seed(5)
    backward(parts, encode, lambda images, texts: loss(images, texts), World())
    cached = {n: p.grad for n, p in model.module.named_parameters() if p.grad is not None}
    assert_equal(plain, cached, 1e-5)


def test_a_run_in_parts_ends_like_one_with_whole_batches(tmp_path):
    whole, parts = trainer(tmp_path), trainer(tmp_path, chunk=5)
    whole.run()
    parts.run()
    assert_equal(weights(whole), weights(parts), 1e-4)


@pytest.mark.parametrize("loss", ["clip", "siglip", "cosine"])
def test_every_loss_falls(tmp_path, loss):
    out = tmp_path / "out"
    trainer(tmp_path, out=out, loss=loss, epochs=10, lr=0.02, head_lr=0.02).run()
    losses = [entry["loss"] for entry in read_log(out)]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_masked_language_modelling_learns_the_words(tmp_path):
    from dataclasses import replace

    from mmsearch.train.trainable import Language
    from tests.mmsearch.train.toys import WORDS

    config = TrainConfig(**{**CONFIG, "epochs": 25, "mlm_weight": 1.0, "loss": "cosine"})
    model = toy()
    words = model.module.embeddings.weight
    special = frozenset({WORDS.index("[PAD]"), WORDS.index("[MASK]")})
    language = Language(model.module.hidden, words, WORDS.index("[MASK]"), special)
    run = Trainer(replace(model, language=language), blob_pairs(tmp_path), config)
    batch = next(run._loader.batches(0, [range(16)]))

    def loss() -> float:
        run.at.step, seen = 0, []
        for _ in range(8):
            run.optimizer.zero_grad()
            seen.append(run._language([batch], len(batch)))
        return sum(seen) / 8

    before = loss()
    run.at.step = 0
    run.run()
    assert loss() < 0.7 * before


def test_a_text_tower_without_masks_cannot_learn_the_words(tmp_path):
    with pytest.raises(BadSource, match="BERT-like"):
        trainer(tmp_path, mlm_weight=0.5)


def test_more_threads_change_nothing(tmp_path):
    one, four = trainer(tmp_path, workers=1), trainer(tmp_path, workers=4)
    one.run()
    four.run()
    assert_equal(weights(one), weights(four))


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.mmsearch.train.test_loop import trainer
folder, out, at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
run = trainer(folder, out=out, dropout=0.2, ema=0.9, hard_negatives=1, save_every=2)
run._progress = lambda step, steps, loss: step == at and os.kill(os.getpid(), signal.SIGKILL)
run.run()
"""


@pytest.fixture
def one_thread():
    """The number of threads decides the order of sums, and other tests set it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_killed_twice_ends_like_an_undisturbed_one(tmp_path, one_thread):
    how = {"dropout": 0.2, "ema": 0.9, "hard_negatives": 1, "save_every": 2}
    whole = trainer(tmp_path / "a", out=tmp_path / "whole", **how)
    whole.run()
    root = Path(__file__).parents[3]
    for at in (4, 8):  # in the second epoch, between two saves; and at a save that is not made
        command = [sys.executable, "-c", KILLED, tmp_path / "a", tmp_path / "out", str(at)]
        ended = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
        assert ended.returncode == -signal.SIGKILL
    assert read_state(tmp_path / "out" / RESUME)["numbers"]["step"] >= 6
    resumed = trainer(tmp_path / "a", out=tmp_path / "out", **how)
    resumed.run()
    assert resumed.at.step == whole.at.step == 9
    assert_equal(weights(whole), weights(resumed))
    assert_equal(whole.ema.mean, resumed.ema.mean)
    logs = [
        [{k: v for k, v in e.items() if k != "pairs_per_s"} for e in read_log(tmp_path / name)]
        for name in ("whole", "out")
    ]
    assert logs[0] == logs[1]


def test_a_damaged_resume_file_is_named(tmp_path):
    out = tmp_path / "out"
    run = trainer(tmp_path, out=out)
    (out / RESUME).write_bytes(b"half a file")
    with pytest.raises(BadSource, match="damaged"):
        run.run()


TWO = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.mmsearch.train.test_loop import trainer, weights
from mmsearch.train.world import leave
run = trainer(Path(sys.argv[1]), loss=sys.argv[3], chunk=int(sys.argv[4]))
run.run()
if run.world.leads:
    torch.save(weights(run), sys.argv[2])
leave()
"""


@pytest.mark.parametrize(("loss", "chunk"), [("clip", 0), ("siglip", 3)])
def test_two_processes_end_like_one_with_the_whole_batch(tmp_path, loss, chunk):
    one = trainer(tmp_path / "data", loss=loss)
    one.run()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    root = Path(__file__).parents[3]
    common = {
        **os.environ,
        "PYTHONPATH": str(root),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    out = tmp_path / "two.pt"
    command = [sys.executable, "-c", TWO, tmp_path / "data", out, loss, str(chunk)]
    running = [subprocess.Popen(command, cwd=root, env={**common, "RANK": r}) for r in "01"]
    assert [process.wait(280) for process in running] == [0, 0]
    assert_equal(weights(one), torch.load(out, weights_only=True), 1e-4)


def test_one_process_is_a_world_of_its_own():
    assert join() == World(0, 1)
    assert World().gather(torch.ones(2)).tolist() == [1, 1]
    leave()


def test_it_stops_when_the_held_out_set_has_not_risen_for_long_enough(tmp_path):
    scores = iter([50.0, 60.0, 55.0, 60.0, 99.0])
    run = trainer(tmp_path, epochs=5, patience=2)
    run._evaluate = lambda: (next(scores), None)
    ended = run.run()
    assert "not risen for 2" in ended.stopped
    assert (ended.best_score, ended.best_step, ended.step) == (60.0, 6, 12)


def test_the_weights_of_the_best_evaluation_are_left_in_the_model(tmp_path):
    seen = {}
    run = trainer(tmp_path, epochs=2)

    def evaluate():
        seen[run.at.step] = weights(run)
        return {3: 80.0, 6: 70.0}[run.at.step], None

    run._evaluate = evaluate
    run.run()
    assert_equal(weights(run), seen[3])


def test_it_stops_when_the_general_set_is_lost(tmp_path):
    general = iter([40.0, 10.0, 10.0])
    run = trainer(tmp_path)
    run._evaluate = lambda: (50.0, next(general))
    assert "lost 30.0 points" in run.run().stopped


def test_it_stops_when_the_loss_is_no_number(tmp_path):
    run = trainer(tmp_path)
    with torch.no_grad():
        run.model.module.text_projection.weight.fill_(float("nan"))
    assert "the loss became nan at step 0" in run.run().stopped


def test_a_cpu_computes_in_float32_unless_told():
    assert not uses_bfloat16("auto", torch.device("cpu"))
    assert uses_bfloat16("bfloat16", torch.device("cpu"))


def test_the_learning_curve_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    entries = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    entries.append({"step": 2, "heldout": 40.0, "general": None})
    assert draw(entries, tmp_path / "curve.png", k=10)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_log_line_cut_off_by_a_crash_is_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 1.0}) + '\n{"step": 2, "lo')
    assert [e["step"] for e in read_log(tmp_path)] == [1]
