"""From pairs to a better model, or to the word that it is none: what `mmsearch train` does."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsearch.cores import usable_cores
from mmsearch.encoders.checkpoint import CHECKPOINT
from mmsearch.encoders.torch_backend import pick_device
from mmsearch.errors import BadSource
from mmsearch.files import replace_folder, write_json, write_whole
from mmsearch.train.augment import Augment
from mmsearch.train.config import TrainConfig
from mmsearch.train.curve import draw, read_log
from mmsearch.train.guard import compared, difference, fits_k, judge, markdown
from mmsearch.train.loop import RESUME, Progress, Trainer, uses_bfloat16
from mmsearch.train.lora import add_lora, merge_lora
from mmsearch.train.optimizer import freeze
from mmsearch.train.pairs import Pairs
from mmsearch.train.sets import Measured, Sets
from mmsearch.train.trainable import Trainable, describe, open_trainable
from mmsearch.train.views import Lower, Views
from mmsearch.train.wiseft import blend, choose, snapshot, sweep
from mmsearch.train.world import World

RUN = "run.json"
REPORT = "report.json"
VIEWS = "views"  # a folder of maps, large, gone when the run has ended
SHOWN = 16  # held-out pictures that the result names, for `models export` to check itself on

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, on what, and where to.

    source: the pairs as the user named them, for the report. general: a set that must not get
    worse. force: keep the model even if the guard refuses it. restart: forget an earlier run in
    the folder.
    """

    base: str
    out: Path
    train: Pairs
    heldout: Pairs
    general: Pairs | None = None
    source: str = ""
    config: TrainConfig = field(default_factory=TrainConfig)
    force: bool = False
    restart: bool = False
    device: str | None = None
    threads: int | None = None


def train(
    job: Job,
    *,
    world: World | None = None,
    say: Say = lambda _: None,
    progress: Callable[[int, int, float], None] | None = None,
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
        BadSource: the folder holds a run of other settings, or nothing of the model is trained.
        ModelUnavailable: the base is not there or cannot be trained; no such device.
        MissingExtra: a library of the `train` extra is not installed.
        OSError: the folder cannot be written.
    """
    world = world or World()
    torch.set_num_threads(job.threads or usable_cores())
    model = open_trainable(job.base)
    identity = _identity(job, model)
    if world.leads:
        _claim(job, identity)
        if (done := _finished(job, identity)) is not None:
            say(f"{job.out} holds this very run, finished")
            return done
    device = _device(job, world)
    model.module.to(device)
    started = time.perf_counter()
    model, views, sets = _views(job, model, world, say)
    base_state = snapshot(model.module)
    base = sets.measured(model) if world.leads else None
    if base is not None:
        say(f"base: {base}")
    ended = _train(job, model, identity, views, sets, base, world, progress, say)
    if base is None:
        return None
    tuned_state = snapshot(model.module)
    chosen, points = _choose(job, model, base_state, tuned_state, base, sets, say)
    blend(model.module, base_state, tuned_state, chosen[0])
    report = _report(job, identity, sets.k, base, chosen, ended, points)
    report["seconds"] = round(time.perf_counter() - started, 1)
    _write(job, model, report)
    return report


def _views(
    job: Job, model: Trainable, world: World, say: Say
) -> tuple[Trainable, Views | None, Sets]:
    """Return the model, cut where it is to be; the views to train on, and what to measure on."""
    config = job.config
    sets = Sets(job.heldout, job.general, fits_k(len(job.heldout), config.k), config.workers)
    if not config.cache_views:
        return model, None, sets
    blocks = config.blocks("image")
    if model.cut is None or blocks is None or config.lora:
        raise BadSource(
            "cache_views is for a starter whose picture tower is frozen in part (image_blocks or "
            "freeze), without lora"
        )
    cut = model.cut(blocks)
    device = next(model.module.parameters()).device
    dtype = torch.bfloat16 if uses_bfloat16(config.precision, device) else torch.float32
    lower = Lower(cut.lower, model.dual, f"{model.dual.name} {blocks}", dtype)
    augment = Augment(config.crop_scale, config.flip, config.jitter) if config.augment else None

    def made(pairs: Pairs, count: int, augment: Augment | None) -> Views:
        return lower.views(
            pairs,
            job.out / VIEWS,
            augment=augment,
            count=count,
            seed=config.seed,
            workers=config.workers,
            say=say,
        )

    def all_made() -> tuple[Views, Sets]:
        general = None if job.general is None else made(job.general, 1, None)
        seen = replace(sets, heldout_views=made(job.heldout, 1, None), general_views=general)
        return made(job.train, config.cache_views if augment else 1, augment), seen

    if world.leads:
        all_made()
    world.told(0.0)  # the others wait, and find the files
    return model.above(cut), *all_made()


def _train(
    job: Job,
    model: Trainable,
    identity: str,
    views: Views | None,
    sets: Sets,
    base: Measured | None,
    world: World,
    progress: Callable[[int, int, float], None] | None,
    say: Say,
) -> Progress:
    """Train; the module then holds the best weights, LoRA merged, everything in place."""
    config = job.config
    torch.manual_seed(config.seed)
    if config.dropout is not None:
        set_dropout(model.module, config.dropout)
    freeze(model.module, config)
    if config.lora:
        add_lora(model.module, config.lora)
    if not any(p.requires_grad for p in model.module.parameters()):
        raise BadSource(
            f"nothing of {job.base} would be trained: it has no heads beside its frozen towers"
        )

    def evaluate() -> tuple[float, float | None]:
        found = sets.measured(model)
        say(str(found))
        return found.scores()

    trainer = Trainer(
        model,
        job.train,
        config,
        folder=job.out,
        views=views,
        evaluate=evaluate,
        world=world,
        identity=identity,
        progress=progress,
    )
    if base is not None:
        trainer.at.first_general = base.scores()[1]
    ended = trainer.run()
    if config.lora:
        merge_lora(model.module)
    model.module.requires_grad_(False)
    return ended


def _choose(
    job: Job,
    model: Trainable,
    base_state: dict[str, Tensor],
    tuned_state: dict[str, Tensor],
    base: Measured,
    sets: Sets,
    say: Say,
) -> tuple[tuple[float, Measured], list[dict[str, Any]]]:
    """Return the chosen alpha with its ranks, and all points. The base is never chosen.

    Where nothing between is better than the base, it is the tuned model itself that the report
    shows and the guard refuses.
    """
    seen: dict[float, Measured] = {0.0: base}

    def at(alpha: float) -> tuple[float, float | None]:
        blend(model.module, base_state, tuned_state, alpha)
        seen[alpha] = sets.measured(model)
        say(f"alpha {alpha:g}: {seen[alpha]}")
        return seen[alpha].scores()

    points = sweep(job.config.wiseft_steps, at, {0.0: base.scores()})
    alpha = choose(points, tolerance=job.config.general_tolerance).alpha or 1.0
    return (alpha, seen[alpha]), [asdict(point) for point in points]


def _report(
    job: Job,
    identity: str,
    k: int,
    base: Measured,
    chosen: tuple[float, Measured],
    ended: Progress,
    points: list[dict[str, Any]],
) -> dict[str, Any]:
    alpha, tuned = chosen
    seed = job.config.seed
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
        "promoted": verdict.promoted,
        "reasons": list(verdict.reasons),
        "forced": job.force and not verdict.promoted,
        "base": job.base,
        "pairs": job.source,
        "k": k,
        "alpha": alpha,
        "steps": ended.step,
        "best_step": ended.best_step,
        "stopped": stopped,
        "summary": f"{len(job.train)} pictures, {ended.step} steps, best at {ended.best_step}; "
        f"{stopped}; alpha {alpha:g}",
        "skipped": len(job.train.skipped),
        "heldout": compared(base.heldout, tuned.heldout, k, seed=seed),
        "general": general,
        "wiseft": points,
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


def set_dropout(module: nn.Module, rate: float) -> None:
    """Set the rate of the heads' dropout layers; of all, where the heads have none."""
    layers = {n: m for n, m in module.named_modules() if isinstance(m, nn.Dropout)}
    heads = {n: m for n, m in layers.items() if "head" in n.partition(".")[0]}
    for layer in (heads or layers).values():
        layer.p = rate


def _device(job: Job, world: World) -> torch.device:
    if world.size > 1 and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return pick_device(job.device)


def _identity(job: Job, model: Trainable) -> str:
    """Return what two runs must have in common for one to go on with the other's files."""
    sets = [job.train, job.heldout, *([job.general] if job.general is not None else [])]
    # Neither changes a result: how many threads decode, and how often the run is saved.
    config = {k: v for k, v in job.config.as_dict().items() if k not in ("workers", "save_every")}
    return json.dumps([model.dual.name, [s.fingerprint() for s in sets], config], sort_keys=True)


def _claim(job: Job, identity: str) -> None:
    path = job.out / RUN
    ours = path.exists()
    if job.restart and ours:
        for name in (RESUME, REPORT, RUN, CHECKPOINT):
            (job.out / name).unlink(missing_ok=True)
    if path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["identity"] != identity:
            changed = ", ".join(job.config.differences(found["config"])) or "the base or the pairs"
            raise BadSource(
                f"{job.out} holds a run of other settings ({changed}); give another --out, or "
                "--restart to forget it"
            )
        return
    if not ours and job.out.exists() and any(job.out.iterdir()):
        raise BadSource(f"{job.out} is not empty and holds no training run; give another --out")
    job.out.mkdir(parents=True, exist_ok=True)
    write_json(path, {"identity": identity, "config": job.config.as_dict(), "base": job.base})


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
