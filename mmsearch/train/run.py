"""From pairs to a better model, or to the word that it is none: what `mmsearch train` does."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from typing import Any

import torch

from mmsearch.cores import usable_cores
from mmsearch.encoders.checkpoint import CHECKPOINT
from mmsearch.encoders.torch_backend import pick_device
from mmsearch.files import replace_folder, write_json, write_whole
from mmsearch.train.attempt import (
    VIEWS,
    Job,
    Say,
    Ticks,
    choose_point,
    cut_model,
    fit,
    identity_of,
)
from mmsearch.train.curve import draw, read_log
from mmsearch.train.guard import compared, difference, judge, markdown, skipped
from mmsearch.train.loop import RESUME, Progress, Scores
from mmsearch.train.saving import claim_folder
from mmsearch.train.sets import Measured, Sets
from mmsearch.train.trainable import Trainable, describe, open_trainable
from mmsearch.train.wiseft import Point, State, blend, snapshot
from mmsearch.train.world import World

RUN = "run.json"
REPORT = "report.json"
SHOWN = 16  # held-out pictures that the result names, for `models export` to check itself on


def train(
    job: Job,
    *,
    world: World | None = None,
    say: Say = lambda _: None,
    progress: Ticks | None = None,
) -> dict[str, Any] | None:
    """Train, choose between base and tuned, judge, and write the result; return the report.

    A run that was cut off goes on from its last save; one that is finished returns its report.
    Processes other than the first return None.

    Args:
        job: what to do.
        world: the processes of torchrun.
        say: gets a line now and then.
        progress: gets (step, steps, loss) after each step.

    Raises:
        BadSource: the folder holds a run of other settings, nothing of the model is trained, or
            the processes do not divide the batch.
        ModelUnavailable: the base is not there or cannot be trained; no such device.
        MissingExtra: a library of the `train` extra is not installed.
        OSError: the folder cannot be written.
    """
    world = world or World()
    world.check_batch(job.config.batch_size)
    torch.set_num_threads(job.threads or usable_cores())
    model = open_trainable(job.base)
    identity = identity_of(job, model)
    ended_before, report = _ended_before(job, identity, world)
    if ended_before:
        say(f"{job.out} holds this very run, finished")
        return report
    model.module.to(_device(job, world))
    started = time.perf_counter()
    model, views, sets = cut_model(model, job, world=world, say=say)
    base_state = snapshot(model.module)
    base = sets.measured(model) if world.leads else None
    if base is not None:
        say(f"base: {base}")

    def evaluate() -> Scores:
        found = sets.measured(model)
        say(str(found))
        return found.scores()

    ended = fit(
        model,
        job,
        views,
        evaluate=evaluate,
        first_general=None if base is None else base.scores()[1],
        folder=job.out,
        identity=identity,
        world=world,
        progress=progress,
    )
    if base is None:
        return None
    ends = (base_state, snapshot(model.module))
    alpha, tuned, points = _choose(job, model, ends, base, sets, say)
    blend(model.module, *ends, alpha)
    ended.broken.update(sets.broken)
    report = _report(job, identity, base, (alpha, tuned), ended, points)
    if report["skipped"]["count"]:
        say(skipped(report))
    report["seconds"] = round(time.perf_counter() - started, 1)
    _write(job, model, report)
    return report


def _choose(
    job: Job, model: Trainable, ends: tuple[State, State], base: Measured, sets: Sets, say: Say
) -> tuple[float, Measured, list[Point]]:
    """Return the chosen alpha with its ranks, and all points."""
    seen: dict[float, Measured] = {}

    def at(alpha: float) -> Scores:
        seen[alpha] = sets.measured(model)
        say(f"alpha {alpha:g}: {seen[alpha]}")
        return seen[alpha].scores()

    alpha, points = choose_point(model, job, ends, {0.0: base.scores()}, at)
    return alpha, seen[alpha], points


def _report(
    job: Job,
    identity: str,
    base: Measured,
    chosen: tuple[float, Measured],
    ended: Progress,
    points: list[Point],
) -> dict[str, Any]:
    alpha, tuned = chosen
    seed, k = job.config.seed, base.k
    heldout = difference(base.heldout, tuned.heldout, k, seed=seed)
    general, general_change = None, None
    if base.general is not None and tuned.general is not None:
        general = compared(base.general, tuned.general, k, seed=seed)
        general_change = difference(base.general, tuned.general, k, seed=seed)
    verdict = judge(heldout, general_change, k=k, tolerance=job.config.general_tolerance)
    stopped = ended.stopped or "all epochs done"
    return {
        "schema": 1,
        "identity": identity,
        **verdict.facts(force=job.force),
        "base": job.base,
        "pairs": job.source,
        "k": k,
        "alpha": alpha,
        "steps": ended.step,
        "best_step": ended.best_step,
        "stopped": stopped,
        "summary": f"{len(job.train)} pictures, {ended.step} steps, best at {ended.best_step}; "
        f"{stopped}; alpha {alpha:g}",
        "skipped": _skipped(job, ended.broken),
        "heldout": compared(base.heldout, tuned.heldout, k, seed=seed),
        "general": general,
        "wiseft": [asdict(point) for point in points],
        "config": job.config.as_dict(),
    }


def _write(job: Job, model: Trainable, report: dict[str, Any]) -> None:
    kept = report["promoted"] or report["forced"]
    out = job.out
    # The old model goes before the new one comes: a crash between leaves none, never a wrong one.
    (out / CHECKPOINT).unlink(missing_ok=True)
    for name in ("model", "rejected"):
        shutil.rmtree(out / name, ignore_errors=True)
    replace_folder(out / ("model" if kept else "rejected"), model.write)
    text = markdown(report)
    write_whole(out / "report.md", lambda file: file.write(text.encode()))
    draw(read_log(out), out / "curve.png", k=report["k"])
    if kept:
        describe(
            out,
            model.kind,
            base=job.base,
            alpha=report["alpha"],
            forced=report["forced"],
            pictures=[row.path for row in job.heldout.rows[:SHOWN]],
            texts=[row.captions[0] for row in job.heldout.rows[:SHOWN]],
        )
    write_json(out / REPORT, report)
    (out / RESUME).unlink(missing_ok=True)
    shutil.rmtree(out / VIEWS, ignore_errors=True)


def _skipped(job: Job, broken: dict[str, str]) -> dict[str, Any]:
    """Return how many pictures could not be used, and the first of them with their reasons."""
    found = {s.key: s.reason for s in job.train.skipped} | dict(sorted(broken.items()))
    return {"count": len(found), "first": dict(list(found.items())[:SHOWN])}


def _device(job: Job, world: World) -> torch.device:
    if world.size > 1 and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return pick_device(job.device)


def _ended_before(job: Job, identity: str, world: World) -> tuple[bool, dict[str, Any] | None]:
    """Return whether this very run has ended, and in the first process its report."""
    report = None
    if world.leads:
        _claim(job, identity)
        report = _finished(job, identity)
    # Told to all, or the others would wait for this process.
    return bool(world.told(report is not None)), report


def _claim(job: Job, identity: str) -> None:
    claim_folder(
        job.out / RUN,
        {"identity": identity, "config": job.config.as_dict(), "base": job.base},
        what="training run",
        changed=lambda found: job.config.differences(found["config"]),
        forget=(RESUME, REPORT, RUN, CHECKPOINT) if job.restart else (),
    )


def _finished(job: Job, identity: str) -> dict[str, Any] | None:
    path = job.out / REPORT
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if report["identity"] != identity:
        return None
    if job.force and not report["promoted"] and not report["forced"]:
        return _keep(job, report)
    return report


def _keep(job: Job, report: dict[str, Any]) -> dict[str, Any]:
    """Put a refused model in place after all."""
    report["forced"] = True
    (job.out / "rejected").rename(job.out / "model")
    describe(
        job.out,
        open_trainable(job.base).kind,
        base=job.base,
        alpha=report["alpha"],
        forced=True,
        pictures=[row.path for row in job.heldout.rows[:SHOWN]],
        texts=[row.captions[0] for row in job.heldout.rows[:SHOWN]],
    )
    write_json(job.out / REPORT, report)
    return report
