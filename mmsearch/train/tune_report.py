"""What came of a search: a table, what mattered, the command of the best trial, a picture."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from mmsearch.files import write_json, write_whole
from mmsearch.train.config import TrainConfig
from mmsearch.train.loop import Scores
from mmsearch.train.space import as_json
from mmsearch.train.tune_plot import draw

if TYPE_CHECKING:
    from mmsearch.train.tune import Search

FULL = "out of memory"  # the note of a failed trial that would fail again
TOP = 0.25  # share of the trials that the importances are about
ENOUGH = 20  # trials, so that the TOP are five: fewer make importances of chance
States = optuna.trial.TrialState
Row = dict[str, Any]


def finished(study: Any) -> list[Any]:
    """Return the trials that count, in order: not those that were cut off, wait or run."""
    states = (States.COMPLETE, States.PRUNED, States.FAIL)
    trials = study.get_trials(deepcopy=False, states=states)
    return [t for t in trials if t.state != States.FAIL or t.user_attrs.get("note") == FULL]


def summed_up(search: Search, study: Any, *, k: int, base: Scores) -> dict[str, Any]:
    """Return the report as JSON values: trials, best first, and what mattered.

    Args:
        search: what was tried.
        study: optuna's.
        k: of R@k.
        base: text->image R@k of the base, held-out and general.
    """
    job, done = search.job, finished(study)
    rows = sorted((_row(i, t) for i, t in enumerate(done, 1)), key=_worth, reverse=True)
    # A trial that is no better than the base has nothing to win.
    best = next((r for r in rows if r["state"] == "complete" and r["heldout"] > base[0]), None)
    shares, why = importances(study)
    return {
        "schema": 1,
        "base": job.base,
        "pairs": job.source,
        "k": k,
        "objective": f"text->image R@{k} on the held-out set, per cent",
        "pictures": {
            "train": len(job.train),
            "heldout": len(job.heldout),
            "general": None if job.general is None else len(job.general),
        },
        "base_scores": {"heldout": base[0], "general": base[1]},
        "general_tolerance": job.config.general_tolerance,
        "asked": search.trials,
        "cut_off": len(study.get_trials(deepcopy=False, states=(States.FAIL,)))
        - sum(r["state"] == "failed" for r in rows),
        "space": as_json(search.space),
        "config": job.config.as_dict(),
        "best": best and {**best, "command": command(search, best["values"])},
        "importances": shares,
        "importances_missing": why,
        "trials": rows,
    }


def _row(number: int, trial: Any) -> Row:
    state = {States.COMPLETE: "complete", States.PRUNED: "pruned"}.get(trial.state, "failed")
    if state == "complete" and any(value > 0 for value in trial.constraints.values()):
        state = "infeasible"
    told = trial.user_attrs
    return {
        "trial": number,
        "state": state,
        "heldout": told.get("heldout"),
        "general": told.get("general"),
        "values": told["values"],
        "seconds": told["seconds"],
        "note": told["note"],
        "evaluations": [trial.intermediate_values[i] for i in sorted(trial.intermediate_values)],
    }


def _worth(row: Row) -> tuple[int, float, int]:
    place = ("failed", "pruned", "infeasible", "complete").index(row["state"])
    return place, row["heldout"] or 0.0, -row["trial"]


def importances(study: Any) -> tuple[dict[str, float] | None, str]:
    """Return the share of each value in reaching the best trials; or None, and why not.

    A trial that was stopped early counts with its last evaluation: the pruner stops what is
    below the median, so it is not of the best quarter, whatever it would have become. What
    the general set has lost too much is taken off, as for the pruner.
    """
    done = study.get_trials(deepcopy=False, states=(States.COMPLETE, States.PRUNED))
    judged = [(trial, _judged(trial)) for trial in done]
    judged = [(trial, value) for trial, value in judged if value is not None]
    if len(judged) < ENOUGH:
        return None, f"{len(judged)} trials are too few to say; it takes {ENOUGH}"
    if len({value for _, value in judged}) == 1:
        return None, "all trials are equally good"
    whole = optuna.create_study(direction="maximize")
    whole.add_trials(
        optuna.trial.create_trial(params=t.params, distributions=t.distributions, value=value)
        for t, value in judged
    )
    # PED-ANOVA, arXiv:2304.10255; of the values by which trials reach the best quarter.
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)
    found = optuna.importance.get_param_importances(whole, evaluator=evaluator)
    return {name: round(value, 4) for name, value in found.items()}, ""


def _judged(trial: Any) -> float | None:
    """Return what a trial is worth, in points of R@k; None where it was never measured."""
    if trial.state == States.PRUNED:
        reported = trial.intermediate_values
        return float(reported[max(reported)]) if reported else None
    lost = sum(max(0.0, float(excess)) for excess in trial.constraints.values())
    return float(trial.value) - lost


def command(search: Search, values: Mapping[str, Any]) -> str:
    """Return the `mmsearch train` that trains with a trial's values, ready for a shell."""
    job = search.job
    # What is fixed for speed here is train's own there: it looks at points between the two.
    config = replace(job.config, **values, wiseft_steps=TrainConfig().wiseft_steps)
    if job.config.wiseft_steps > 1:
        config = replace(config, wiseft_steps=job.config.wiseft_steps)
    words = ["mmsearch", "train", *search.sources, "--base", job.base]
    words += ["--out", str(job.out / "best")]
    options = {
        **search.data,
        **{
            f.name: getattr(config, f.name)
            for f in fields(TrainConfig)
            if getattr(config, f.name) != f.default
        },
    }
    for name, value in options.items():
        flag = name.replace("_", "-")
        words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [
            f"--{flag}",
            str(value),
        ]  # fmt: skip
    return shlex.join(words)


def write_report(search: Search, report: dict[str, Any], *, plot: bool = False) -> None:
    """Write tune.json and tune.md into the folder, and tune.png if wanted and possible.

    Raises:
        OSError: they cannot be written.
    """
    out: Path = search.job.out
    text = markdown(report)
    write_json(out / "tune.json", report)
    write_whole(out / "tune.md", lambda file: file.write(text.encode()))
    if plot and report["trials"]:
        draw(report, out / "tune.png")


def markdown(report: dict[str, Any]) -> str:
    """Return a report as Markdown: the best, what mattered, the table of trials."""
    k, base, best = report["k"], report["base_scores"], report["best"]
    sets = report["pictures"]
    lines = [f"# {report['base']} on {report['pairs']}: {len(report['trials'])} trials", ""]
    lines.append(
        f"Judged by text->image R@{k} on {sets['heldout']} held-out pictures; the base has "
        f"{base['heldout']:.1f}."
    )
    if base["general"] is not None:
        lines.append(
            f"Infeasible: more than {report['general_tolerance']:g} points lost on "
            f"{sets['general']} general pictures, where the base has {base['general']:.1f}."
        )
    if report["cut_off"]:
        lines.append(f"Cut off and made again: {report['cut_off']}.")
    lines += ["", "## Best", ""]
    if best is None:
        lines.append("None: no trial that was trained to its end is feasible and beats the base.")
    else:
        lines += [
            f"Trial {best['trial']}, {best['heldout']:.1f}. It is the best of many on the set that "
            "chose it, so this is more than it will show elsewhere: train it, and measure on a "
            "third set with `mmsearch eval`.",
            "",
            f"```sh\n{best['command']}\n```",
        ]
    return "\n".join([*lines, "", *_mattered(report), *_table(report)]) + "\n"


def _mattered(report: dict[str, Any]) -> list[str]:
    lines = ["## What mattered", ""]
    if report["importances"] is None:
        return [*lines, f"{report['importances_missing'].capitalize()}.", ""]
    lines += ["Share in reaching the best quarter of the trials (PED-ANOVA):", ""]
    lines += ["| | share |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in report["importances"].items()]
    return [*lines, ""]


def _table(report: dict[str, Any]) -> list[str]:
    names, k = list(report["space"]), report["k"]
    general = report["base_scores"]["general"] is not None
    head = ["trial", "", f"held-out R@{k}", *([f"general R@{k}"] if general else []), *names, "s"]
    lines = ["## Trials, best first", "", _line(head), _line(["---"] * len(head))]
    for row in report["trials"]:
        scores: Sequence[float | None] = (row["heldout"], row["general"])[: 1 + general]
        lines.append(
            _line(
                [
                    row["trial"],
                    "; ".join(filter(None, (row["state"], row["note"]))),
                    *("" if score is None else f"{score:.1f}" for score in scores),
                    *(row["values"].get(name, "") for name in names),
                    f"{row['seconds']:.0f}",
                ]
            )
        )
    return lines


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
