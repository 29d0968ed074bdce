"""A search on a toy: what is bad is found out, what is cut off goes on, what cheats never wins."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

torch = pytest.importorskip("torch")
optuna = pytest.importorskip("optuna", minversion="5.0")

from mmsearch.cli import cli  # noqa: E402  (only where torch is)
from mmsearch.errors import BadSource  # noqa: E402
from mmsearch.train import tune as tuning  # noqa: E402
from mmsearch.train.attempt import Job  # noqa: E402
from mmsearch.train.config import TrainConfig  # noqa: E402
from mmsearch.train.pairs import read_pairs  # noqa: E402
from mmsearch.train.space import Choices, Range, as_json  # noqa: E402
from mmsearch.train.tune import Search, out_of_memory, tune  # noqa: E402
from mmsearch.train.tune_plot import draw  # noqa: E402
from mmsearch.train.tune_report import States, _judged, importances  # noqa: E402
from tests.mmsearch.train.toys import blobs, toy  # noqa: E402

RATES = {"head_lr": Choices((0.02, 1e-7))}  # one that learns, one that does not
CONFIG = TrainConfig(
    epochs=2, batch_size=16, lr=0.01, head_lr=0.02, patience=0, wiseft_steps=1, k=1, workers=1
)


@pytest.fixture(autouse=True)
def one_thread():
    """The number of threads decides the order of sums; and a toy needs no more."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def the_toy_can_be_named(monkeypatch):
    """Let `--base toy` open the toy model: toys have no spec of their own."""
    monkeypatch.setattr(tuning, "open_trainable", opened)


def opened(spec: str):
    return replace(toy(dropout=0.1), spec=spec)


def search(tmp_path: Path, space=RATES, *, trials=4, config=CONFIG, **job) -> Search:
    data = str(blobs(tmp_path / "data"))
    train, heldout = (read_pairs(data, split=split) for split in ("train", "val"))
    made = Job(
        base="toy", out=tmp_path / "out", train=train, heldout=heldout, source=data,
        config=config, threads=1, **job,
    )  # fmt: skip
    return Search(made, space, trials, sources=(data,))


def rows(report, state="complete"):
    return [row for row in report["trials"] if row["state"] == state]


def test_a_rate_that_learns_nothing_is_found_out(tmp_path):
    frozen = replace(CONFIG, freeze="both", epochs=4)
    report = tune(search(tmp_path, config=frozen))
    tried = {row["values"]["head_lr"] for row in report["trials"]}
    assert tried == {0.02, 1e-7}
    assert report["best"]["values"] == {"head_lr": 0.02}
    assert report["best"]["heldout"] > report["base_scores"]["heldout"]


def test_the_first_trial_has_the_values_that_train_would_have(tmp_path):
    space = {"head_lr": Range(1e-3, 1e-1, log=True), "dropout": Range(0.0, 0.5)}
    report = tune(search(tmp_path, space, trials=1))
    assert report["trials"][0]["values"] == {"head_lr": 0.02, "dropout": 0.1}


def test_each_trial_starts_from_the_base(tmp_path):
    report = tune(search(tmp_path, {"head_lr": Choices((0.02,))}, trials=3))
    scores = {tuple(row["evaluations"]) for row in report["trials"]}
    assert len(scores) == 1


def test_a_bad_trial_is_stopped_early_and_leaves_the_base_as_it_was(tmp_path):
    config = replace(CONFIG, head_lr=None, lora=2, epochs=3)
    report = tune(search(tmp_path, {"lr": Choices((0.02, 1e-7))}, trials=10, config=config))
    pruned = rows(report, "pruned")
    assert {row["values"]["lr"] for row in pruned} == {1e-7}
    assert {row["note"].split(" of ")[1] for row in pruned} == {"3 evaluations"}
    firsts = {(row["values"]["lr"], row["evaluations"][0]) for row in report["trials"]}
    assert len(firsts) == 2


def test_a_search_with_more_trials_goes_on_where_it_was(tmp_path):
    tune(search(tmp_path, trials=2))
    said = []
    report = tune(search(tmp_path, trials=3), say=said.append)
    assert [row["trial"] for row in sorted(report["trials"], key=lambda r: r["trial"])] == [1, 2, 3]
    assert [line.split(":")[0] for line in said if line.startswith("trial")] == ["trial 3/3"]


def test_a_search_with_other_settings_in_the_folder_is_refused(tmp_path):
    tune(search(tmp_path, trials=1))
    with pytest.raises(BadSource, match=r"other settings \(epochs\)"):
        tune(search(tmp_path, trials=1, config=replace(CONFIG, epochs=3)))
    with pytest.raises(BadSource, match="the space of head_lr"):
        tune(search(tmp_path, {"head_lr": Choices((0.1, 0.2))}, trials=1))
    report = tune(search(tmp_path, {"head_lr": Choices((0.1, 0.2))}, trials=1, restart=True))
    assert len(report["trials"]) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.mmsearch.train import test_tune as t
t.tuning.open_trainable = t.opened
left = [int(sys.argv[2])]
def count(step, steps, loss):
    left[0] -= 1
    left[0] or os.kill(os.getpid(), signal.SIGKILL)
t.tune(t.search(Path(sys.argv[1]), t.WIDE), progress=count)
"""
WIDE = {"head_lr": Range(1e-4, 1e-1, log=True), "batch_size": Choices((8, 16))}


def test_a_search_killed_in_a_trial_makes_it_again_and_ends_like_an_undisturbed_one(tmp_path):
    whole = tune(search(tmp_path / "a", WIDE))
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", KILLED, tmp_path / "b", "10"]
    ended = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    assert ended.returncode == -signal.SIGKILL
    resumed = tune(search(tmp_path / "b", WIDE))
    assert (whole["cut_off"], resumed["cut_off"]) == (0, 1)
    bare = [[{**r, "seconds": 0} for r in report["trials"]] for report in (whole, resumed)]
    assert bare[0] == bare[1]


def test_two_searches_in_one_folder_do_not_mix(tmp_path):
    from filelock import FileLock

    tune(search(tmp_path, trials=1))
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(BadSource, match="at work"):
        tune(search(tmp_path, trials=2))


def test_a_trial_that_ruins_the_general_set_never_wins(tmp_path):
    # The general set is the base's own world: captions as the untrained toy ranks them best.
    from mmsearch.train.measure import features
    from mmsearch.train.pairs import Pair, make_pairs

    made = search(tmp_path, trials=6, config=replace(CONFIG, general_tolerance=0.0))
    images, texts = features(opened("toy"), made.job.heldout, workers=1)
    nearest = (texts @ images.T).argmax(axis=0)
    general = make_pairs(
        Pair(row.key, row.path, (made.job.heldout.texts[i],), row.key)
        for row, i in zip(made.job.heldout.rows, nearest, strict=True)
    )
    made = replace(made, job=replace(made.job, general=general))
    report = tune(made)
    lost = [row for row in report["trials"] if row["general"] < report["base_scores"]["general"]]
    assert lost
    assert all(row["state"] in ("infeasible", "pruned") for row in lost)
    best = report["best"]
    assert best is None or best["general"] >= report["base_scores"]["general"]


def test_a_trial_without_room_for_its_batch_is_failed_and_not_made_again(tmp_path, monkeypatch):
    def greedy(spec: str):
        base = opened(spec)

        def images(pixels):
            if len(pixels) > 16 and base.module.training:
                torch.empty(2**60)
            return base.dual.module.images(pixels)

        return replace(base, dual=replace(base.dual, images=images))

    monkeypatch.setattr(tuning, "open_trainable", greedy)
    report = tune(search(tmp_path, {"batch_size": Choices((16, 32))}, trials=6))
    failed = rows(report, "failed")
    assert failed
    assert {row["values"]["batch_size"] for row in failed} == {32}
    assert {row["note"] for row in failed} == {"out of memory"}
    assert len(report["trials"]) == 6


def test_an_error_of_ours_is_no_lack_of_memory():
    assert not out_of_memory(RuntimeError("shapes do not match"))


def test_no_trial_is_begun_when_the_time_is_up(tmp_path):
    said = []
    report = tune(replace(search(tmp_path), seconds=0.0), say=said.append)
    assert report["trials"] == []
    assert "the time is up after 0 of 4 trials" in said[-1]


def test_the_report_says_that_few_trials_tell_no_importances(tmp_path):
    report = tune(search(tmp_path, trials=2))
    assert report["importances"] is None
    text = (tmp_path / "out" / "tune.md").read_text()
    assert "too few to say; it takes 20" in text
    assert json.loads((tmp_path / "out" / "tune.json").read_text()) == json.loads(
        json.dumps(report)
    )


def test_importances_name_the_value_that_mattered(tmp_path):
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))

    def peak(trial):
        trial.suggest_float("weight_decay", 0.0, 0.1)
        return -abs(trial.suggest_float("head_lr", 0.0, 1.0) - 0.5)

    study.optimize(peak, n_trials=19)
    assert importances(study) == (None, "19 trials are too few to say; it takes 20")
    study.optimize(peak, n_trials=21)
    found, _ = importances(study)
    assert found["head_lr"] > 3 * found["weight_decay"]
    assert sum(found.values()) == pytest.approx(1, abs=0.001)


def test_importances_count_pruned_trials_and_take_off_what_the_general_set_lost(tmp_path):
    study = optuna.create_study(direction="maximize")
    axes = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in ("head_lr", "lr")}
    for number in range(20):
        # The higher head_lr the better, but beyond 0.5 the general set loses ten times that.
        head_lr, lr = number / 20, (number * 7 % 20) / 20
        pruned = number < 8
        study.add_trial(
            optuna.trial.create_trial(
                params={"head_lr": head_lr, "lr": lr},
                distributions=axes,
                value=None if pruned else head_lr,
                state=States.PRUNED if pruned else States.COMPLETE,
                intermediate_values={1: head_lr},
                constraints=None if pruned else {"general": 10 * (head_lr - 0.5)},
            )
        )
    found, why = importances(study)
    assert why == ""
    assert found["head_lr"] > 3 * found["lr"]
    judged = {t.params["head_lr"]: _judged(t) for t in study.get_trials()}
    assert judged[0.35] == 0.35  # pruned: its last evaluation
    assert judged[0.5] == 0.5
    assert judged[0.9] == pytest.approx(0.9 - 4.0)


def test_a_search_is_drawn_with_pruned_and_infeasible_trials(tmp_path):
    pytest.importorskip("matplotlib")
    states = ("complete", "pruned", "infeasible", "failed")
    trials = [
        {"trial": i, "state": state, "heldout": 10.0 * i, "values": {"lr": 0.1 * i, "loss": "clip"}}
        for i, state in enumerate(states, 1)
    ]
    trials[-1]["heldout"] = None
    axes = {"lr": Range(0.1, 0.9, log=True), "loss": Choices(("clip", "siglip"))}
    report = {"k": 10, "base_scores": {"heldout": 5.0}, "trials": trials, "space": as_json(axes)}
    for shares in (None, {"loss": 0.7, "lr": 0.3}):
        told = {**report, "importances": shares, "importances_missing": "too few"}
        assert draw(told, tmp_path / "tune.png")
        assert (tmp_path / "tune.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_searches_what_is_not_given_and_prints_the_report(tmp_path, capsys):
    data, out = str(blobs(tmp_path / "data")), str(tmp_path / "out")
    words = ["tune", data, "--base", "toy", "--out", out, "--trials", "1", "--epochs", "1"]
    words += ["--lr", "0.01", "--batch-size", "16", "--space", "dropout=off", "--threads", "1"]
    code = cli.main([*words, "--format", "json"], standalone_mode=False)
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert set(report["space"]) == {"head_lr", "layer_decay", "weight_decay", "temperature"}
    assert code == (0 if report["best"] else 1)
    assert "trial 1/1: head_lr" in printed.err
    assert (tmp_path / "out" / "tune.md").read_text().startswith(f"# toy on {data}: 1 trials")


def test_the_command_of_the_best_trial_is_understood_by_train_and_trains_alike(tmp_path):
    from mmsearch.train import run

    space = {"head_lr": Choices((0.02,)), "dropout": Choices((0.2,))}
    config = replace(CONFIG, augment=False)
    report = tune(search(tmp_path, space, trials=1, config=config))
    words = shlex.split(report["best"]["command"])
    assert words[:2] == ["mmsearch", "train"]
    command = cli.get_command(None, "train")
    # Below its group, as it is called: click remembers the help option of the first context.
    parent = click.Context(cli, **cli.context_settings)
    given = command.make_context("train", words[2:], parent=parent).params
    assert (given["dropout"], given["head_lr"], given["augment"]) == (0.2, 0.02, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "open_trainable", opened)
        cli.main([*words[1:], "--quiet", "--threads", "1", "--force"], standalone_mode=False)
    found = json.loads((tmp_path / "out" / "best" / "report.json").read_text())
    tuned = next(point for point in found["wiseft"] if point["alpha"] == 1)
    assert tuned["heldout"] == pytest.approx(report["best"]["heldout"])
