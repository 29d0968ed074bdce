"""One training of one model, from its base to the weights of its best evaluation, and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from mmsearch.errors import BadSource
from mmsearch.train.augment import Augment
from mmsearch.train.config import TrainConfig
from mmsearch.train.guard import fits_k
from mmsearch.train.layers import set_dropout
from mmsearch.train.loop import Progress, Scores, Trainer, uses_bfloat16
from mmsearch.train.lora import add_lora, merge_lora
from mmsearch.train.optimizer import freeze
from mmsearch.train.pairs import Pairs
from mmsearch.train.sets import Sets
from mmsearch.train.trainable import Trainable
from mmsearch.train.views import Lower, Views
from mmsearch.train.wiseft import Point, State, blend, choose, sweep
from mmsearch.train.world import World

VIEWS = "views"  # a folder of maps, large, gone when the run has ended

Say = Callable[[str], None]
Ticks = Callable[[int, int, float], None]  # (step, steps, loss)


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


def cut_model(
    model: Trainable, job: Job, *, world: World, say: Say
) -> tuple[Trainable, Views | None, Sets]:
    """Return the model, cut where it is to be; the views to train on, and what to measure on.

    Raises:
        BadSource: views are wanted of a model that cannot be cut.
        OSError: the views cannot be written.
    """
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
    model = model.above(cut)
    if model.frozen_texts is not None and config.blocks("text") == 0 and not config.mlm_weight:
        model = model.with_texts(model.frozen_texts())
    return model, *all_made()


def fit(
    model: Trainable,
    job: Job,
    views: Views | None,
    *,
    evaluate: Callable[[], Scores],
    first_general: float | None,
    folder: Path | None = None,
    identity: str = "",
    world: World | None = None,
    progress: Ticks | None = None,
) -> Progress:
    """Train a base; it then holds the weights of its best evaluation, LoRA merged.

    Whatever `evaluate` raises ends the training; the names of the weights are the base's even so.

    Args:
        model: the base, on its device.
        job: what to do.
        views: of the pictures, where the model's picture tower is cut.
        evaluate: measures the model as it is.
        first_general: the base's R@k on the general set.
        folder: for the log and the resume file; None writes nothing.
        identity: what must be equal for a resume file to be taken up.
        world: the processes of torchrun.
        progress: called after each step.

    Raises:
        BadSource: nothing of the model would be trained, or the pairs cannot be read.
    """
    config, module = job.config, model.module
    torch.manual_seed(config.seed)
    if config.dropout is not None:
        set_dropout(module, config.dropout)
    freeze(module, config)
    adapters = add_lora(module, config.lora) if config.lora else []
    try:
        if not any(p.requires_grad for p in module.parameters()):
            raise BadSource(
                f"nothing of {job.base} would be trained: it has no heads beside its frozen towers"
            )
        trainer = Trainer(
            model,
            job.train,
            config,
            folder=folder,
            views=views,
            evaluate=evaluate,
            world=world,
            identity=identity,
            progress=progress,
        )
        trainer.at.first_general = first_general
        ended = trainer.run()
    finally:
        merge_lora(adapters)
        module.requires_grad_(False)
    return ended


def choose_point(
    model: Trainable,
    job: Job,
    ends: tuple[State, State],
    known: Mapping[float, Scores],
    at: Callable[[float], Scores],
) -> tuple[float, list[Point]]:
    """Return the alpha between base and tuned that the guard is to judge, and all points tried.

    The base is never chosen: where nothing between is better, it is the tuned model itself that
    is shown and refused.

    Args:
        model: gets the weights of each point in turn.
        job: how many points, and how much the general set may lose.
        ends: the weights of the base and of the tuned model.
        known: scores that need no measuring; those of the base, at 0, among them.
        at: measures the model as it then is, at this alpha.
    """

    def blended(alpha: float) -> Scores:
        blend(model.module, *ends, alpha)
        return at(alpha)

    points = sweep(job.config.wiseft_steps, blended, known)
    return choose(points, tolerance=job.config.general_tolerance).alpha or 1.0, points


def identity_of(job: Job, model: Trainable) -> str:
    """Return what two runs must have in common for one to go on with the other's files."""
    sets = [job.train, job.heldout, *([job.general] if job.general is not None else [])]
    # Neither changes a result: how many threads decode, and how often the run is saved.
    config = {k: v for k, v in job.config.as_dict().items() if k not in ("workers", "save_every")}
    return json.dumps([model.dual.name, [s.fingerprint() for s in sets], config], sort_keys=True)
