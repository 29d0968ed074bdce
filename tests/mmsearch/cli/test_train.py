"""`mmsearch train` as a whole: from a table of pairs to a model that searches, or to a refusal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from mmsearch.cli import main  # noqa: E402  (only where torch is)
from mmsearch.train.curve import read_log  # noqa: E402
from tests.mmsearch.cli.conftest import Mmsearch  # noqa: E402
from tests.mmsearch.train.toys import blob_table, tiny_clip  # noqa: E402

ROOT = Path(__file__).parents[3]
HOW = ["--epochs", "20", "--batch-size", "12", "--lr", "0.003", "--head-lr", "0.003",
       "--no-augment", "--patience", "0", "--eval-every", "10", "--wiseft-steps", "2",
       "--threads", "1", "--save-every", "3"]  # fmt: skip
SHORT = [*HOW[2:], "--epochs", "2", "--wiseft-steps", "1", "--force"]
TOLD_APART = "seconds"  # of a report: how long it took, no result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/, pairs.csv (train, val, test) and clip/, a model of random weights."""
    folder = tmp_path_factory.mktemp("place")
    blob_table(folder / "photos", 120)
    tiny_clip(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path) -> Path:
    """The folder of a run over the pairs that ended well."""
    threads = torch.get_num_threads()
    with contextlib.chdir(place), pytest.raises(SystemExit) as done:
        main(["train", "pairs.csv", "--base", "hf:clip", "--out", "tuned", *HOW])
    torch.set_num_threads(threads)
    assert done.value.code == 0
    return place / "tuned"


@pytest.fixture
def call(mmsearch: Mmsearch, place: Path, monkeypatch: pytest.MonkeyPatch) -> Mmsearch:
    """The command line, in the folder of the pairs."""
    monkeypatch.chdir(place)
    return mmsearch


def report_of(folder: Path) -> dict:
    report = json.loads((folder / "report.json").read_text())
    return {key: value for key, value in report.items() if key != TOLD_APART}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")


def test_a_tuned_model_indexes_searches_is_compared_and_takes_a_collection_over(
    call: Mmsearch, tuned: Path
) -> None:
    assert call("index", "photos", "--model", "hf:clip").code == 0
    compared = call("eval", "pairs.csv", "--split", "test", "--compare", "hf:clip",
                    "checkpoint:tuned", "--format", "json")  # fmt: skip
    assert compared.code == 0
    change = json.loads(compared.out)["difference"]["text_to_image"]["R@10"]
    assert change["clear"]
    assert change["difference"] > 20  # of pictures that neither trained nor chose
    assert call("reindex", "--model", "checkpoint:tuned").code == 0
    caption = "red above blue"
    found = call("search", caption, "-n", "3", "--format", "json")
    assert found.code == 0
    first = [hit["score"] for hit in json.loads(found.out)["hits"]]
    assert call("index", "photos", "--collection", "new", "--model", "checkpoint:tuned").code == 0
    again = call("search", caption, "-n", "3", "--collection", "new", "--format", "json")
    assert [hit["score"] for hit in json.loads(again.out)["hits"]] == pytest.approx(first)


def test_the_report_is_json_alone_on_stdout_and_a_finished_run_is_not_run_again(
    call: Mmsearch, tuned: Path
) -> None:
    before = (tuned / "model" / "model.safetensors").stat().st_mtime_ns
    done = call("train", "pairs.csv", "--base", "hf:clip", "--out", "tuned", *HOW,
                "--format", "json")  # fmt: skip
    assert done.code == 0
    assert "finished" in done.err
    report = json.loads(done.out)
    assert (report["promoted"], report["k"], report["reasons"]) == (True, 10, [])
    assert report["heldout"]["pictures"] == 40
    assert report["heldout"]["change"]["low"] > 0
    assert report["skipped"] == {"count": 0, "first": {}}
    assert (tuned / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert (tuned / "report.md").read_text().startswith("# hf:clip tuned on pairs.csv: promoted")
    assert (tuned / "curve.png").is_file()


def test_other_settings_in_the_same_folder_are_refused_and_nothing_is_lost(
    call: Mmsearch, tuned: Path
) -> None:
    before = report_of(tuned)
    done = call("train", "pairs.csv", "--base", "hf:clip", "--out", "tuned", *HOW, "--seed", "7")
    assert done.code == 2
    assert "tuned holds a training run of other settings (seed)" in done.err
    assert "--restart" in done.err
    assert report_of(tuned) == before
    assert (tuned / "checkpoint.json").is_file()
    other = call("train", "pairs.csv", "--base", "hf:clip", "--out", "photos")
    assert other.code == 2
    assert "is not empty and holds no training run" in other.err


def test_a_run_that_makes_it_worse_is_refused_and_force_keeps_it(
    call: Mmsearch, tuned: Path
) -> None:
    hundredfold = ["--lr", "0.3", "--head-lr", "0.3", "--epochs", "2", "--wiseft-steps", "1"]
    command = ["train", "pairs.csv", "--base", "checkpoint:tuned", "--out", "worse", *HOW,
               *hundredfold]  # fmt: skip
    done = call(*command)
    assert done.code == 1
    assert "refused, the base stays: held-out R@10" in done.err
    assert "refused" in done.out.splitlines()[0]
    worse = tuned.parent / "worse"
    assert not (worse / "checkpoint.json").exists()
    assert (worse / "rejected").is_dir()
    used = call("index", "photos", "--model", "checkpoint:worse")
    assert used.code == 4
    assert "was refused" in used.err
    kept = call(*command, "--force", "--format", "json")
    assert kept.code == 0
    report = json.loads(kept.out)
    assert (report["promoted"], report["forced"]) == (False, True)
    assert report["heldout"]["change"]["value"] < 0
    assert json.loads((worse / "checkpoint.json").read_text())["forced"] is True
    assert call("index", "photos", "--model", "checkpoint:worse").code == 0


def test_pictures_that_do_not_open_are_left_out_and_told(
    call: Mmsearch, place: Path, tmp_path: Path
) -> None:
    shutil.copytree(place / "photos", tmp_path / "photos")
    shutil.copy(place / "pairs.csv", tmp_path)
    (tmp_path / "photos" / "000.png").write_bytes(b"")  # to train on
    (tmp_path / "photos" / "001.png").write_bytes(b"no picture")  # to measure on
    done = call("train", tmp_path / "pairs.csv", "--base", "hf:clip", "--out", tmp_path / "out",
                *SHORT, "--format", "json")  # fmt: skip
    assert done.code == 0
    skipped = json.loads(done.out)["skipped"]
    assert [Path(path).name for path in skipped["first"]] == ["000.png", "001.png"]
    assert skipped["count"] == 2
    assert "000.png (the file is empty) and 1 more" in done.err
    assert "000.png (the file is empty) and 1 more" in (tmp_path / "out/report.md").read_text()


def test_low_rank_updates_end_as_plain_weights(call: Mmsearch, place: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    out = tmp_path / "lora"
    done = call("train", "pairs.csv", "--base", "hf:clip", "--out", out, *SHORT, "--lora", "2",
                "--quiet")  # fmt: skip
    assert done.code == 0
    from safetensors.torch import load_file

    tuned, base = weights_of(out), load_file(place / "clip" / "model.safetensors")
    assert tuned.keys() == base.keys()
    name = "text_model.encoder.layers.0.mlp.fc1."
    assert not torch.equal(tuned[f"{name}weight"], base[f"{name}weight"])
    assert torch.equal(tuned[f"{name}bias"], base[f"{name}bias"])  # frozen
    assert call("index", "photos", "--model", f"checkpoint:{out}").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss", "triplet"], "'triplet' is not one of 'clip', 'siglip', 'cosine'"),
        (["--freeze", "all"], "'all' is not one of"),
        (["--epochs", "0"], "0 is not in the range x>=1"),
        (["--lr", "0"], "--lr"),
        (["--batch-size", "1"], "1 is not in the range x>=2"),
        (["--ema", "1"], "--ema"),
        (["--group-by"], "requires an argument"),
        (["--split", "nowhere"], "no split 'nowhere'; it has test, train, val"),
        (["--general", "gone.json"], "no such file or folder: gone.json"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(
    call: Mmsearch, place: Path, options: list[str], message: str
) -> None:
    done = call("train", "pairs.csv", "--out", "none", *options)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (place / "none").exists()


def test_a_base_that_cannot_be_trained_is_a_model_that_is_not_available(call: Mmsearch) -> None:
    done = call("train", "pairs.csv", "--base", "color", "--out", "none")
    assert done.code == 4
    assert "cannot be trained" in done.err


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def killed_at(step: int, command: list[str], place: Path, out: Path) -> None:
    """Run the command and kill it as soon as its log has reached a step."""
    with subprocess.Popen(command, cwd=place, env=environment(), stderr=subprocess.PIPE) as run:
        while run.poll() is None:
            if any(entry["step"] >= step for entry in read_log(out)[-1:]):
                run.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert run.wait() == -signal.SIGKILL, run.stderr.read().decode() if run.stderr else ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_killed_twice_ends_with_the_figures_and_weights_of_an_undisturbed_one(
    tuned: Path, place: Path
) -> None:
    command = [sys.executable, "-m", "mmsearch", "train", "pairs.csv", "--base", "hf:clip",
               "--out", "killed", *HOW]  # fmt: skip
    steps = report_of(tuned)["steps"]
    assert steps == 60
    reached = []
    for step in (17, 43):
        killed_at(step, command, place, place / "killed")
        reached.append(read_log(place / "killed")[-1]["step"])
        assert not (place / "killed" / "checkpoint.json").exists()
    assert 17 <= reached[0] < 43 <= reached[1] < steps
    subprocess.run(command, cwd=place, env=environment(), check=True, capture_output=True)
    assert report_of(place / "killed") == report_of(tuned)
    one, other = weights_of(tuned), weights_of(place / "killed")
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def torchrun(place: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2", "-m", "mmsearch", "train", "pairs.csv",
               "--base", "hf:clip", "--out", str(out), *SHORT, *options]  # fmt: skip
    return subprocess.run(
        command, cwd=place, env={**environment(), "CUDA_VISIBLE_DEVICES": ""}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_with_two_processes_ends_like_one_with_the_whole_batch(
    call: Mmsearch, place: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert call("train", "pairs.csv", "--base", "hf:clip", "--out", one, *SHORT).code == 0
    done = torchrun(place, two)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# hf:clip tuned on pairs.csv") == 1  # one process speaks
    first, second = report_of(one), report_of(two)
    assert second["steps"] == first["steps"] == 6
    assert second["heldout"] == first["heldout"]
    for name, value in weights_of(one).items():
        assert torch.allclose(value, weights_of(two)[name], rtol=0, atol=1e-4), name
    again = torchrun(place, two)  # all of them hear that it is finished
    assert again.returncode == 0, again.stderr
    assert "finished" in again.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_tells_where_its_processes_do_not_divide_the_batch(
    place: Path, tmp_path: Path
) -> None:
    done = torchrun(place, tmp_path / "out", "--batch-size", "9")
    assert done.returncode != 0
    assert "batch_size is 9: 2 processes share each batch, it must be a multiple of 2" in (
        done.stderr
    )
    assert not (tmp_path / "out").exists()
