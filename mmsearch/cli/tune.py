"""`mmsearch tune`: which rates and sizes suit one's own pairs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import note, threads_option
from mmsearch.cli.train import (
    COUNT,
    DATA,
    LEARNING,
    PICTURES,
    _number,
    build_job,
    step_progress,
)

NO_WINNER = 1  # as a model that the guard of `mmsearch train` refuses
UNITS = {"h": 3600, "m": 60, "s": 1}
NAMES_DATA = ("split", "val_split", "group_by", "general", "device", "threads")


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return the seconds of a time: 90, 45m, 1h30m."""
    if value is None or re.fullmatch(r"\d+(\.\d+)?", value):
        return None if value is None else float(value)
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", value)
    if not parts or "".join(map("".join, parts)) != value:
        raise click.BadParameter(f"{value!r} is no time; say 90 (seconds), 45m, 2h or 1h30m")
    return sum(float(amount) * UNITS[unit] for amount, unit in parts)


SEARCH = [
    _number("--trials", click.IntRange(min=1), 20, "Trainings in all, earlier calls' included."),
    click.option(
        "--timeout",
        callback=_seconds,
        metavar="TIME",
        help="Begin no training after that: 90 (seconds), 45m, 1h30m.",
    ),
    click.option(
        "--space",
        multiple=True,
        metavar="NAME=WHAT",
        help="What to search: low:high, low:high:log, a,b,c or off; several times.",
    ),
]
CHOICE = [
    _number("--patience", COUNT, 3, "Evaluations without a gain before it stops; 0: all epochs."),
    _number("--eval-every", click.IntRange(min=1), 1, "Epochs between evaluations."),
    _number("--k", click.IntRange(min=1), 10, "Judge by R@k (smaller sets: 5 or 1)."),
    _number("--general-tolerance", Between(0), 1.0, "Points the general set may lose."),
    _number("--general-stop", Between(0), 20.0, "Stop a trial that has lost so many."),
    _number(
        "--wiseft-steps",
        click.IntRange(min=1),
        1,
        "Points from base to tuned to judge a trial by; 1: the tuned alone.",
    ),
]
RUNNING = [
    click.option(
        "--precision", default="auto", show_default=True, help="auto, float32 or bfloat16."
    ),
    click.option("--device", help="cpu, cuda, cuda:N, mps [default: the best there is]."),
    threads_option,
    _number("--seed", click.INT, 0, "Of everything random."),
    click.option("--restart", is_flag=True, help="Forget an earlier search in DIR."),
    click.option(
        "--format",
        "format_",
        type=click.Choice(["markdown", "json"]),
        default="markdown",
        show_default=True,
        help="How to print the report.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="No progress."),
]


def _options(command: Any) -> Any:
    for option in reversed([*SEARCH, *DATA, *LEARNING, *PICTURES, *CHOICE, *RUNNING]):
        command = option(command)
    return command


@click.command("tune", short_help="Find the rates and sizes that suit your pairs.")
@click.argument("pairs", metavar="PAIRS...", nargs=-1, required=True)
@click.option("--base", default="starter", show_default=True, metavar="MODEL",
              help="starter, open_clip:ARCH/TAG, hf:DIR or checkpoint:DIR.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False),
              metavar="DIR", help="Folder for the search and its report.")  # fmt: skip
@_options
@click.pass_context
def tune_command(
    ctx: click.Context, /, pairs: tuple[str, ...], base: str, out: Path, **options: Any
) -> int:
    """Find the rates and sizes that suit your pairs, by many short trainings.

    \b
    mmsearch tune pairs.csv --out tuning --trials 30 --epochs 3
    mmsearch tune pairs.csv --out tuning --freeze both --space head_lr=1e-4:1e-2:log

    Searched are the learning rates of towers and heads, layer decay, batch size, weight decay,
    dropout and temperature. An option of that name fixes its value; all other options are as in
    mmsearch train. Each training is judged on the held-out set; one that loses too much on the
    general set cannot win. The same command goes on where an interrupted search was. DIR gets
    tune.md, tune.json and tune.png; the command that trains the best model is printed. Exits
    with 1 if nothing was better than the base.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise click.UsageError("tune runs in one process; torchrun is for mmsearch train")
    format_, quiet = options.pop("format_"), options.pop("quiet")
    trials, seconds, asked = (options.pop(name) for name in ("trials", "timeout", "space"))
    fixed = [n for n in options if ctx.get_parameter_source(n) is not ParameterSource.DEFAULT]
    data = {name: options[name] for name in NAMES_DATA if name in fixed}
    from mmsearch.errors import MissingExtra
    from mmsearch.train.space import build_space

    job = build_job(pairs, base, out, {**options, "force": False}, what="mmsearch tune")
    space, left_out = build_space(asked, config=job.config, fixed=fixed, pictures=len(job.train))
    try:
        from mmsearch.train.tune import Search, tune
    except ModuleNotFoundError as error:
        raise MissingExtra(f"mmsearch tune ({error.name})", "train") from error
    for line in () if quiet else left_out:
        note(line)
    report = tune(
        Search(job, space, trials, seconds, pairs, data),
        say=(lambda _: None) if quiet else note,
        progress=step_progress(quiet),
    )
    if format_ == "json":
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo((out / "tune.md").read_text(encoding="utf-8"), nl=False)
    return Exit.OK if report["best"] else NO_WINNER
