"""`mmsearch train-answers` and `mmsearch eval-answers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.evaluate import Progress
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import note, threads_option

if TYPE_CHECKING:
    from mmsearch.answer_metrics import Similarity
    from mmsearch.readers.questions import Question
    from mmsearch.types import Skipped

WORDNET = click.option(
    "--wordnet", metavar="DIR", type=click.Path(path_type=Path),
    help="WordNet's folder, for WUPS [default: the usual places; without it no WUPS].",
)  # fmt: skip
FORMAT = click.option("--format", "format_", type=click.Choice(["table", "json"]),
                      default="table", show_default=True, help="How to print.")  # fmt: skip
QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
SHARE = Between(0, 1, max_open=True)
RATE = Between(0, min_open=True)


@click.command("train-answers", short_help="Train a small head that answers questions.")
@click.argument("questions")
@click.option("--base", default="starter", show_default=True, metavar="MODEL",
              help="The encoder, whose frozen features the head looks at.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False),
              metavar="DIR", help="Folder for the head: use it as head:DIR.")  # fmt: skip
@click.option("--split", default="train", show_default=True,
              help="Questions to learn from; all where the data has no splits.")  # fmt: skip
@click.option("--test", metavar="DATA", help="Questions to measure on [default: QUESTIONS].")
@click.option("--test-split", default="test", show_default=True,
              help="Split to measure on; none: do not measure.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True,
              help="Times through the questions.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True,
              help="Questions a step.")  # fmt: skip
@click.option("--lr", type=RATE, default=2e-3, show_default=True, help="Highest learning rate.")
@click.option("--weight-decay", type=Between(0), default=0.1, show_default=True,
              help="Of all weights.")  # fmt: skip
@click.option("--dropout", type=SHARE, default=0.5, show_default=True, help="Of features too.")
@click.option("--members", type=click.IntRange(1, 20), default=3, show_default=True,
              help="Heads whose probabilities are averaged.")  # fmt: skip
@click.option("--max-answers", type=click.IntRange(2), default=3_000, show_default=True,
              help="The most frequent answers that it learns.")  # fmt: skip
@click.option("--flip/--no-flip", default=True, show_default=True,
              help="Mirrored pictures too, left and right exchanged in the question.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@WORDNET
@FORMAT
@QUIET
@threads_option
def train_answers_command(
    questions: str, base: str, out: Path, split: str, test: str | None, test_split: str,
    wordnet: Path | None,
    format_: str, quiet: bool, threads: int | None, **config: Any,
) -> int:  # fmt: skip
    """Train a small head that answers questions about pictures (extra: train).

    QUESTIONS is a file of VQA's or GQA's questions, or a data set with a list "qa"
    (docs/answers.md). The encoder stays as it is; the head learns the most frequent answers. It is
    measured beside the most frequent answer and beside a head that is trained alike without
    pictures: only what it has over that one it owes to the pictures. Running it needs no torch.

    \b
    mmsearch train-answers daquar/dataset.json --out answers
    mmsearch ask "what is on the table?" --image room.jpg --answerer head:answers
    """
    train, left = _split(questions, split)
    held = _held_out(questions, test, test_split)
    similar = _wups(wordnet)
    from mmsearch.cores import usable_cores
    from mmsearch.encoders import resolve_model
    from mmsearch.errors import MissingExtra

    try:
        from mmsearch.answering.fitting import FitConfig
        from mmsearch.answering.learning import learn
    except ModuleNotFoundError as error:
        raise MissingExtra(f"mmsearch train-answers ({error.name})", "train") from error
    with Progress(quiet) as bars:
        report = learn(
            train, held, resolve_model(base), out, FitConfig(**config), similar=similar,
            threads=threads or usable_cores(), progress=bars.show,
        )  # fmt: skip
    for one in report["skipped"]:
        note(f"left out: {one['key']}: {one['reason']}")
    click.echo(json.dumps(report, indent=2) if format_ == "json" else _report(report))
    note(f"use it as --answerer head:{out}")
    return Exit.SOME_FAILED if left or report["skipped"] else Exit.OK


@click.command("eval-answers", short_help="Measure how right an answerer is.")
@click.argument("questions")
@click.option("--answerer", "specs", multiple=True, required=True, metavar="SPEC",
              help="As for `ask`; given twice, the second is compared with the first.")  # fmt: skip
@click.option("--split", metavar="NAME", help="Of a data set with splits [default: all].")
@click.option("--first", type=click.IntRange(1), metavar="N", help="Only the first N questions.")
@click.option("--regions", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="For lxmert: NAME.npz for each NAME.jpg.")  # fmt: skip
@click.option("--device", help="cpu, cuda, cuda:N, mps [default: the best there is].")
@WORDNET
@FORMAT
@QUIET
@threads_option
def eval_answers_command(
    questions: str, specs: tuple[str, ...], split: str | None, first: int | None,
    regions: Path | None, device: str | None, wordnet: Path | None, format_: str, quiet: bool,
    threads: int | None,
) -> int:  # fmt: skip
    """Measure how right the answers of a model are, with 95 % intervals.

    QUESTIONS as for train-answers. Where several people have answered (VQA): the official VQA
    accuracy, exact match and F1. Where one answer has parts (DAQUAR) or is one word (GQA): accuracy
    (all parts, in any order), F1, and WUPS if WordNet is there. docs/answers.md says what each is.
    """
    if len(specs) > 2:
        raise click.UsageError("at most two --answerer can be compared")
    asked, left = _read(questions, split)
    asked = asked[:first]
    similar = _wups(wordnet)
    from mmsearch.answering import load_answerer
    from mmsearch.answering.judging import judge

    with Progress(quiet) as bars:
        models = {spec: load_answerer(spec, threads=threads, device=device) for spec in specs}
        result = judge(asked, models, similar, regions=regions, progress=bars.show)
    for one in result["skipped"]:
        note(f"left out: {one['key']}: {one['reason']}")
    click.echo(json.dumps(result, indent=2) if format_ == "json" else _figures(result["figures"],
               result.get("over", {})))  # fmt: skip
    return Exit.SOME_FAILED if left or result["skipped"] else Exit.OK


def _read(source: str, split: str | None) -> tuple[list[Question], list[Skipped]]:
    """Return the questions that have answers, and what was left out."""
    from mmsearch.errors import BadSource
    from mmsearch.readers import read_questions
    from mmsearch.types import Skipped
    from mmsearch.uris import printable

    found = list(read_questions(source, split=split))
    skipped = [one for one in found if isinstance(one, Skipped)]
    kept = [one for one in found if not isinstance(one, Skipped) and one.answers]
    for one in skipped[:5]:
        note(f"left out: {printable(one.key)}: {printable(one.reason)}")
    if not kept:
        raise BadSource(f"{printable(source)} has no questions with answers that can be used")
    return kept, skipped


def _split(source: str, split: str) -> tuple[list[Question], list[Skipped]]:
    """Return a split's questions; all of a source that has no splits, such as VQA's files."""
    from mmsearch.errors import NoSplits

    try:
        return _read(source, split)
    except NoSplits:
        return _read(source, None)


def _held_out(questions: str, test: str | None, split: str) -> list[Question]:
    """Return the questions to measure on; none where there are no others than those to learn."""
    from mmsearch.errors import NoSplits

    if split == "none":
        return []
    if test is not None:
        return _split(test, split)[0]
    try:
        return _read(questions, split)[0]
    except NoSplits:
        note("nothing to measure on: the questions have no splits, and --test was not given")
        return []


def _wups(folder: Path | None) -> dict[str, Similarity]:
    """Return WUPS's two similarities; none, with a word, where WordNet isn't there."""
    from mmsearch.errors import MissingData
    from mmsearch.wordnet import Nouns, WuPalmer

    try:
        nouns = Nouns(folder)
    except MissingData as error:
        if folder is not None:
            raise
        note(f"without WUPS: {error}")
        return {}
    return {"WUPS@0.9": WuPalmer(nouns, 0.9), "WUPS@0.0": WuPalmer(nouns, 0.0)}


def _report(report: dict[str, Any]) -> str:
    train = report["train"]
    lines = [f"{train['questions']:,} questions about {train['pictures']:,} pictures, "
             f"{report['answers']:,} answers learnt"]  # fmt: skip
    if "figures" in report:
        test = report["test"]
        lines.append(f"measured on {test['questions']:,} questions, {test['pictures']:,} pictures")
        lines.append(_figures(report["figures"], report["over"]))
    return "\n".join(lines)


def _figures(figures: dict[str, Any], over: dict[str, Any]) -> str:
    """Return a table, a line a model, then what one of them has over another."""
    rows = list(figures.items())
    rows += [(f"over {name}", gap) for name, gap in over.items()]
    columns = list(rows[0][1])
    width = max(len(name) for name, _ in rows)
    lines = ["  ".join([" " * width, *(f"{c:>20}" for c in columns)])]
    for name, own in rows:
        sign = "+" if name.startswith("over ") else ""
        cells = [f"{own[c]['value']:{sign}.1f} [{own[c]['low']:{sign}.1f}, "
                 f"{own[c]['high']:{sign}.1f}]" for c in columns]  # fmt: skip
        lines.append("  ".join([f"{name:<{width}}", *(f"{cell:>20}" for cell in cells)]))
    return "\n".join(lines)
