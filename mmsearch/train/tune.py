"""Many short trainings, each with other rates and sizes: what `mmsearch tune` does.

Optuna chooses (TPE) and stops early (median pruner); its SQLite file in the folder is the truth,
so a search that was killed goes on.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
import torch
from filelock import FileLock, Timeout

from mmsearch.cores import usable_cores
from mmsearch.encoders.torch_backend import pick_device
from mmsearch.errors import BadSource
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
from mmsearch.train.layers import dropout_layers
from mmsearch.train.loop import Scores, mixed
from mmsearch.train.saving import claim_folder
from mmsearch.train.sets import told
from mmsearch.train.space import Axis, Space, as_json
from mmsearch.train.trainable import Trainable, open_trainable
from mmsearch.train.tune_report import FULL, finished, summed_up, write_report
from mmsearch.train.wiseft import State, blend, snapshot
from mmsearch.train.world import World

RUN = "tuning.json"
STUDY = "study.sqlite3"
RESULTS = ("tune.json", "tune.md", "tune.png")
RANDOM = 8  # trials before TPE has enough to go by
UNPRUNED = 5  # trials that must be done before a median says anything
States = optuna.trial.TrialState


@dataclass(frozen=True, slots=True)
class Search:
    """A job whose config holds what is not searched, and what is.

    space: see `space.build_space`. trials: how many in all, those of earlier calls included.
    seconds: after so long none is begun; None: no limit. sources, data: the pairs and the
    options as the user gave them, for the command that is printed.
    """

    job: Job
    space: Space
    trials: int
    seconds: float | None = None
    sources: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def tune(
    search: Search, *, say: Say = lambda _: None, progress: Ticks | None = None
) -> dict[str, Any]:
    """Train with other values again and again, and return what came of it, as in `tune.json`.

    A trial is judged as `mmsearch train` judges: by text->image R@k on the held-out set, at its
    best evaluation. One that loses more than the tolerance on the general set is infeasible and
    never the best. A search that was cut off goes on; a trial that was cut off is made again.

    Args:
        search: what to try.
        say: gets a line now and then.
        progress: gets (step, steps, loss) after each step.

    Raises:
        BadSource: the folder holds another search, or another process works in it; or nothing
            would be searched or trained.
        ModelUnavailable: the base is not there or cannot be trained; no such device.
        MissingExtra: a library of the `train` extra is not installed.
        OSError: the folder cannot be written.
    """
    job = search.job
    torch.set_num_threads(job.threads or usable_cores())
    model = open_trainable(job.base)
    search = replace(search, space=_effective(model, search.space, say))
    identity = json.dumps([identity_of(job, model), as_json(search.space)], sort_keys=True)
    _claim(search, identity)
    try:
        with FileLock(job.out / ".lock", timeout=0):
            study = _study(search)
            return _Tuning(search, study, model, say, progress).run()
    except Timeout as error:
        raise BadSource(f"another mmsearch tune is at work in {job.out}") from error


class _Tuning:
    """One call of `tune`: the base, loaded and measured once, and the study."""

    def __init__(
        self, search: Search, study: Any, model: Trainable, say: Say, progress: Ticks | None
    ) -> None:
        self.search, self.study = search, study
        self.say, self.progress = say, progress
        model.module.to(pick_device(search.job.device))
        self.model, self.views, self.sets = cut_model(model, search.job, world=World(), say=say)
        self.start: State = snapshot(model.module)
        self.base: Scores = self._base()

    def run(self) -> dict[str, Any]:
        search, began = self.search, time.monotonic()
        _settle(self.study)
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(own_values(self.model, search))
        while (done := len(finished(self.study))) < search.trials:
            if search.seconds is not None and time.monotonic() - began >= search.seconds:
                self.say(f"the time is up after {done} of {search.trials} trials")
                break
            # Seeded by how many are done: a search that was cut off draws what it would have.
            seed = mixed(search.job.config.seed, done) % 2**32
            self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM, seed=seed)
            self._trial(done + 1)
            write_report(search, self._report())
        report = self._report()
        write_report(search, report, plot=True)
        if len(report["trials"]) >= search.trials:
            shutil.rmtree(search.job.out / VIEWS, ignore_errors=True)
        return report

    def _base(self) -> Scores:
        known = self.study.user_attrs.get("base")
        if known is None:
            known = self.measured()
            self.study.set_user_attr("base", known)
        scores: Scores = tuple(known)
        self.say(f"base: {told(scores, self.sets.k)}")
        return scores

    def measured(self) -> Scores:
        """Return the scores of the model as it is."""
        return self.sets.measured(self.model).scores()

    def _report(self) -> dict[str, Any]:
        return summed_up(self.search, self.study, k=self.sets.k, base=self.base)

    def _trial(self, number: int) -> None:
        search, trial = self.search, self.study.ask()
        values = {name: axis.draw(trial, name) for name, axis in search.space.items()}
        trial.set_user_attr("values", values)
        job = replace(search.job, config=replace(search.job.config, **values))
        shown = ", ".join(f"{name} {value}" for name, value in values.items())
        self.say(f"trial {number}/{search.trials}: {shown}")
        blend(self.model.module, self.start, self.start, 0)
        attempt, began = _Attempt(trial, job, self), time.perf_counter()
        try:
            scores = attempt.run()
        except optuna.TrialPruned:
            state, scores = States.PRUNED, attempt.seen[-1]
            note = f"stopped after {len(attempt.seen)} of {attempt.planned} evaluations"
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            state, scores, note = States.FAIL, None, FULL
        else:
            state, note = States.COMPLETE, attempt.note
        self._tell(trial, state, scores, note, time.perf_counter() - began)

    def _tell(
        self, trial: Any, state: Any, scores: Scores | None, note: str, seconds: float
    ) -> None:
        excess = 0.0
        if scores is not None:
            excess = _excess(self.base, scores, self.search.job.config.general_tolerance)
            trial.set_user_attr("heldout", scores[0])
            trial.set_user_attr("general", scores[1])
            # One number, above 0 where the trial may not win; TPE learns from it, too.
            trial.set_constraint("general", excess)
        trial.set_user_attr("note", note)
        trial.set_user_attr("seconds", round(seconds, 1))
        value = scores[0] if scores is not None and state == States.COMPLETE else None
        self.study.tell(trial, value, state)
        figures = "" if scores is None else f"{told(scores, self.sets.k)}; "
        word = "infeasible" if state == States.COMPLETE and excess > 0 else state.name.lower()
        self.say(f"{figures}{'; '.join(filter(None, (word, note)))} ({seconds:.0f} s)")


class _Attempt:
    """One trial: a training that tells the pruner of each evaluation."""

    def __init__(self, trial: Any, job: Job, tuning: _Tuning) -> None:
        self.trial, self.job, self.tuning = trial, job, tuning
        self.seen: list[Scores] = []
        self.planned = math.ceil(job.config.epochs / job.config.eval_every)
        self.note = ""

    def run(self) -> Scores:
        """Train; return the scores to judge by.

        Raises:
            TrialPruned: an evaluation is below the median of the trials before.
        """
        tuning = self.tuning
        ended = fit(
            tuning.model,
            self.job,
            tuning.views,
            evaluate=self._evaluate,
            first_general=tuning.base[1],
            progress=tuning.progress,
        )
        self.note = ended.stopped
        if not self.seen:
            self.seen.append(self.tuning.measured())
        return self._between()

    def _evaluate(self) -> Scores:
        scores = self.tuning.measured()
        self.seen.append(scores)
        lost = max(0.0, _excess(self.tuning.base, scores, self.job.config.general_tolerance))
        # A trial that ruins the general set shall not push out one that keeps it.
        self.trial.report(scores[0] - lost, len(self.seen))
        if len(self.seen) < self.planned and self.trial.should_prune():
            raise optuna.TrialPruned
        return scores

    def _between(self) -> Scores:
        """Return the scores of the point between base and tuned that `train` would choose."""
        tuning, model = self.tuning, self.tuning.model
        known = {0.0: tuning.base, 1.0: max(self.seen, key=lambda scores: scores[0])}
        ends = (tuning.start, snapshot(model.module))
        alpha, points = choose_point(model, self.job, ends, known, lambda _: tuning.measured())
        if self.job.config.wiseft_steps > 1:
            self.note = "; ".join(filter(None, (self.note, f"alpha {alpha:g}")))
        point = next(p for p in points if p.alpha == alpha)
        return point.heldout, point.general


def _excess(base: Scores, scores: Scores, tolerance: float) -> float:
    """Return how many points more than the tolerance the general set has lost; below 0: fewer."""
    if base[1] is None or scores[1] is None:
        return 0.0
    return base[1] - scores[1] - tolerance - 1e-9


def _settle(study: Any) -> None:
    """Call trials failed that a killed process left behind, and queue them again."""
    for trial in study.get_trials(states=(States.RUNNING,)):
        study.tell(trial.number, state=States.FAIL)
        study.enqueue_trial(trial.params)


def own_values(model: Trainable, search: Search) -> dict[str, Any]:
    """Return what `mmsearch train` would use, as far as the space has it: the first trial."""
    config = search.job.config
    own: dict[str, Any] = {name: getattr(config, name) for name in search.space}
    own |= {f"{part}_lr": config.rate(part) for part in ("image", "text", "head")}
    if config.temperature is None:
        own["temperature"] = 1 / model.scale(config.loss)[0]
    if config.dropout is None:
        own["dropout"] = next((layer.p for layer in dropout_layers(model.module)), None)
    return {name: own[name] for name, axis in search.space.items() if axis.holds(own[name])}


def out_of_memory(error: Exception) -> bool:
    """Return whether a trial's batch was too large for the memory of the machine or the GPU."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error)  # a CPU's allocator has no error of its own
    return "allocate memory" in text or "not enough memory" in text


def _effective(model: Trainable, space: Space, say: Say) -> dict[str, Axis]:
    """Return the space without what the model has no place for."""
    if "dropout" not in space or dropout_layers(model.module):
        return dict(space)
    say(f"dropout is not searched: {model.spec} has no dropout layers")
    if len(space) == 1:
        raise BadSource("nothing is left to search")
    return {name: axis for name, axis in space.items() if name != "dropout"}


def _claim(search: Search, identity: str) -> None:
    job, space = search.job, as_json(search.space)

    def changed(found: dict[str, Any]) -> list[str]:
        names = job.config.differences(found["config"])
        axes = [n for n in {**space, **found["space"]} if space.get(n) != found["space"].get(n)]
        return [*names, *(f"the space of {name}" for name in axes)]

    facts = {
        "identity": identity,
        "config": job.config.as_dict(),
        "base": job.base,
        "space": space,
    }
    forget = (RUN, STUDY, f"{STUDY}-journal", *RESULTS) if job.restart else ()
    claim_folder(job.out / RUN, facts, what="search", changed=changed, forget=forget)


def _study(search: Search) -> Any:
    path = (search.job.out / STUDY).absolute()
    if "?" in str(path):
        raise BadSource(f"{path}: the name of the folder must have no question mark")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{path}",
        study_name="tune",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED),
        load_if_exists=True,
    )
