"""`mmsearch train`: from pairs to a model of one's own, guarded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import is_default, is_terminal, note, threads_option

REFUSED = 1  # the guard did not let the model pass


def _number(name: str, kind: Any, default: Any, text: str) -> Any:
    shown = default is not None
    return click.option(name, type=kind, default=default, show_default=shown, help=text)


def _choice(name: str, values: list[str], text: str) -> Any:
    """Return an option whose first value is the default."""
    kind = click.Choice(values)
    return click.option(name, type=kind, default=values[0], show_default=True, help=text)


COUNT = click.IntRange(min=0)
SHARE = Between(0, 1, max_open=True)
RATE = Between(0, min_open=True)

DATA = [
    click.option("--split", default="train", show_default=True, help="Split to train on."),
    click.option("--val-split", default="val", show_default=True, help="Split to measure on."),
    _number("--heldout", SHARE, 0.1, "Share held out where the pairs have no splits."),
    click.option("--group-by", metavar="FIELD", help="Pictures of one value are one thing."),
    click.option("--general", metavar="DATA[:SPLIT]", help="A set that must not get worse."),
    _number("--general-limit", COUNT, 0, "Pictures of it to measure on; 0: all."),
]
LEARNING = [
    _number("--epochs", click.IntRange(min=1), 10, "Times through the pictures."),
    _number("--batch-size", click.IntRange(min=2), 64, "Pairs a step, of all processes together."),
    _number("--chunk", COUNT, 0, "Pairs in memory at once (gradient caching); 0: the batch."),
    _number("--captions", click.IntRange(min=1), 1, "Captions of each picture a step."),
    _choice("--loss", ["clip", "siglip", "cosine"], "Of the pairs of a batch."),
    _number("--mlm-weight", Between(0), 0.0, "Weight of masked language modelling."),
    _number("--label-smoothing", SHARE, 0.0, "Of the clip loss."),
    _number("--margin", Between(0), 0.2, "Of the cosine loss."),
    _number("--lr", RATE, 1e-5, "Learning rate of the towers."),
    _number("--image-lr", RATE, None, "Of the image tower [default: --lr]."),
    _number("--text-lr", RATE, None, "Of the text tower [default: --lr]."),
    _number("--head-lr", RATE, None, "Of heads, temperature and bias [default: 10 times --lr]."),
    _number("--layer-decay", RATE, 1.0, "Factor of the rate for each layer further down."),
    _number("--weight-decay", Between(0), 0.1, "None on biases and norms."),
    _number("--warmup", SHARE, 0.1, "Share of the steps with a rising rate."),
    _number("--clip-grad", Between(0), 1.0, "Longest gradient; 0: any."),
    _choice("--freeze", ["none", "image", "text", "both"], "Towers to leave as they are."),
    _number("--last-blocks", COUNT, None, "Train only these many last blocks of each tower."),
    _number("--image-blocks", COUNT, None, "The same, of the image tower."),
    _number("--text-blocks", COUNT, None, "The same, of the text tower."),
    _number("--lora", COUNT, 0, "Rank of low-rank updates (LoRA) of the towers; 0: none."),
    _number("--temperature", RATE, None, "To start from [default: the base's own]."),
    _number("--dropout", SHARE, None, "Of the heads [default: the base's own]."),
    _number("--ema", SHARE, 0.0, "Decay of the averaged weights; 0: none."),
]
PICTURES = [
    click.option("--augment/--no-augment", default=True, show_default=True, help="Random views."),
    _number("--crop-scale", Between(0.05, 1), 0.6, "Smallest share that a crop keeps."),
    _choice("--flip", ["auto", "on", "off"], "auto: not where a caption says left or right."),
    _number("--jitter", SHARE, 0.1, "Change of brightness, contrast and saturation."),
    _number(
        "--cache-views",
        COUNT,
        0,
        "Views of a picture that pass its tower's frozen part once "
        "for all epochs (starter); 0: new ones each epoch.",
    ),
    _number("--hard-negatives", COUNT, 0, "Group look-alikes anew every N epochs; 0: never."),
    click.option("--one-source", is_flag=True, help="Fill a batch from one of the PAIRS, not all."),
    _number("--workers", click.IntRange(min=1), 2, "Threads that decode pictures."),
]
CHOICE = [
    _number("--patience", COUNT, 3, "Evaluations without a gain before it stops; 0: all epochs."),
    _number("--eval-every", click.IntRange(min=1), 1, "Epochs between evaluations."),
    _number("--k", click.IntRange(min=1), 10, "Judge by R@k (smaller sets: 5 or 1)."),
    _number("--general-tolerance", Between(0), 1.0, "Points the general set may lose."),
    _number("--general-stop", Between(0), 20.0, "Stop where it has lost so many."),
    _number("--wiseft-steps", click.IntRange(min=1), 10, "Points to try from base to tuned."),
    click.option("--force", is_flag=True, help="Keep the model even if it is refused."),
]
RUNNING = [
    _choice("--precision", ["auto", "float32", "bfloat16"], "auto: bfloat16 on GPUs that have it."),
    click.option("--device", help="cpu, cuda, cuda:N, mps [default: the best there is]."),
    threads_option,
    _number("--save-every", COUNT, 100, "Steps between saves; an epoch's end always is one."),
    _number("--seed", click.INT, 0, "Of everything random."),
    click.option("--restart", is_flag=True, help="Forget an earlier run in DIR."),
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


RERANK = [
    _choice("--fusion", ["cross", "joint", "concat"], "Of --stage rerank: how the two meet."),
    _number("--width", click.IntRange(min=1), 192, "Of --stage rerank: channels of a token."),
    _number("--layers", click.IntRange(min=1), 1, "Of --stage rerank: of the fusion."),
    _number("--group-size", click.IntRange(min=2), 16, "Of --stage rerank: told apart at once."),
    _number("--itc-weight", Between(0), 1.0, "Of --stage rerank: of contrast."),
    _number("--candidates", click.IntRange(min=2), 50, "Of --stage rerank: to re-rank."),
    click.option("--tokens", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                 help="Of --stage rerank: keep what is worked out once here."),
]  # fmt: skip


def _options(command: Any) -> Any:
    for option in reversed([*DATA, *LEARNING, *PICTURES, *CHOICE, *RUNNING, *RERANK]):
        command = option(command)
    return command


@click.command("train", short_help="Train a model on your own pairs of pictures and texts.")
@click.argument("pairs", metavar="PAIRS...", nargs=-1, required=True)
@click.option("--base", default="starter", show_default=True, metavar="MODEL",
              help="starter, open_clip:ARCH/TAG, hf:DIR or checkpoint:DIR.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False),
              metavar="DIR", help="Folder for the result: use it as checkpoint:DIR.")  # fmt: skip
@click.option("--stage", type=click.Choice(["dual", "rerank"]), default="dual", show_default=True,
              help="dual: the encoder of both; rerank: a re-ranker of its hits.")  # fmt: skip
@_options
def train_command(pairs: tuple[str, ...], base: str, out: Path, stage: str, **options: Any) -> int:
    """Train a model on your own pairs of pictures and texts.

    PAIRS is anything that `mmsearch index` reads with captions: a data set such as Karpathy's or
    COCO's JSON, a table of pairs, a tar, or a folder with captions; several are taken together.
    The run ends with base against tuned on held-out pictures, and on a general set if there is
    one; a model that is not better is refused (exit code 1) and not put in place. The same
    command goes on where an interrupted run was. --stage rerank trains a light re-ranker on the
    tokens of a starter (docs/reranking.md).
    """
    format_, quiet = options.pop("format_"), options.pop("quiet")
    if stage == "rerank":
        from mmsearch.cli.train_rerank import train_rerank

        return train_rerank(pairs, base, out, options, format_=format_, quiet=quiet)
    refuse_options([o.name for o in rerank_options()], options, "--stage rerank")
    job = build_job(pairs, base, out, options, what="mmsearch train")
    from mmsearch.train.run import train
    from mmsearch.train.world import join, leave

    world = join()
    try:
        say = (lambda _: None) if quiet or not world.leads else note
        report = train(job, world=world, say=say, progress=step_progress(quiet or not world.leads))
    finally:
        leave()
    if report is None:
        return Exit.OK
    if format_ == "json":
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo((out / "report.md").read_text(encoding="utf-8"), nl=False)
    if report["promoted"] or report["forced"]:
        note(f"use it as --model checkpoint:{out}")
        return Exit.OK
    note(f"refused, the base stays: {'; '.join(report['reasons'])}")
    return REFUSED


def refuse_options(names: list[str], options: dict[str, Any], of: str) -> None:
    """Take options of another stage out of `options`.

    Raises:
        UsageError: one of them was given.
    """
    for name in names:
        options.pop(name, None)
        if not is_default(name):
            raise click.UsageError(f"--{name.replace('_', '-')} is an option of {of}")


def rerank_options() -> list[click.Option]:
    """Return the options that --stage rerank alone has."""

    def bare() -> None:
        """Carry options."""

    command: Any = bare
    for option in reversed(RERANK):
        command = option(command)
    found: list[click.Option] = command.__click_params__
    return found


def build_job(
    pairs: tuple[str, ...], base: str, out: Path, options: dict[str, Any], *, what: str
) -> Any:
    """Return the Job that the options say, its pairs read.

    Raises:
        BadSource: a value is out of its range, or the pairs cannot be read.
        MissingExtra: torch is not installed; `what` is the command that needs it.
    """
    from mmsearch.errors import MissingExtra
    from mmsearch.train.config import TrainConfig
    from mmsearch.train.pairs import train_and_heldout

    taken = {
        name: options.pop(name)
        for name in ("split", "val_split", "group_by", "general", "force", "device", "threads",
                     "restart")
    }  # fmt: skip
    config = TrainConfig(**options)
    train, heldout = train_and_heldout(
        pairs,
        split=taken["split"],
        val_split=taken["val_split"],
        group_by=taken["group_by"],
        share=config.heldout,
        seed=config.seed,
    )
    general = _general(taken["general"], config)
    try:
        from mmsearch.train.attempt import Job
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{what} ({error.name})", "train") from error
    return Job(
        base=base,
        out=out,
        train=train,
        heldout=heldout,
        general=general,
        source=" ".join(pairs),
        config=config,
        force=taken["force"],
        restart=taken["restart"],
        device=taken["device"],
        threads=taken["threads"],
    )


def _general(source: str | None, config: Any) -> Any:
    from mmsearch.train.pairs import read_pairs

    if source is None:
        return None
    place, colon, split = source.rpartition(":")
    named = colon and Path(place).exists()
    found = read_pairs(place, split=split) if named else read_pairs(source)
    return found.limited(config.general_limit, config.seed)


def step_progress(quiet: bool) -> Any:
    if quiet or not is_terminal():
        return None

    def show(step: int, steps: int, loss: float) -> None:
        end = "\n" if step == steps else ""
        sys.stderr.write(f"\r\x1b[Kstep {step}/{steps}  loss {loss:.4f}{end}")
        sys.stderr.flush()

    return show
