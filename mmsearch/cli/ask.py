"""`mmsearch ask`: a question about a picture, or about the best hits of a query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import build_filter, filter_options, note, store_options, threads_option

if TYPE_CHECKING:
    from mmsearch.answering import Answer
    from mmsearch.answering.asking import Asked


@click.command("ask", short_help="Ask a question about a picture or about hits.")
@click.argument("question")
@click.option("--image", metavar="FILE", help="The picture to ask about.")
@click.option("--hits", metavar="QUERY", help="Ask about the best hits of this search.")
@click.option("-n", "--limit", "k", type=click.IntRange(1, 1_000), default=5, show_default=True,
              metavar="N", help="Hits to ask about.")  # fmt: skip
@filter_options
@click.option("--answerer", required=True, envvar="MMSEARCH_ANSWERER", metavar="SPEC",
              help="head:DIR, vilt:DIR, blip:DIR, lxmert:DIR or vlm:DIR.")  # fmt: skip
@click.option("--answers", type=click.IntRange(1, 100), default=1, show_default=True, metavar="N",
              help="Answers of each picture.")  # fmt: skip
@click.option("--regions", type=click.Path(path_type=Path), metavar="PATH",
              help="For lxmert: the file of regions; with --hits a folder.")  # fmt: skip
@click.option("--device", help="cpu, cuda, cuda:N, mps [default: the best there is].")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print; json has a schema version.")  # fmt: skip
@threads_option
@store_options
def ask_command(
    question: str, image: str | None, hits: str | None, k: int, where: str | None,
    paths: tuple[str, ...], answerer: str, answers: int, regions: Path | None,
    device: str | None, format_: str, threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Ask a question about a picture, or about the best hits of a search.

    \b
    mmsearch ask "what color is the sofa?" --image room.jpg --answerer vilt:DIR
    mmsearch ask "what is on the table?" --hits "a kitchen" -n 5 --answerer blip:DIR

    With --hits each picture answers, and a last line says what they say together: the mean of
    an answer's scores. Exits with 1 if there is no hit, with 5 if pictures could not be read.
    """
    if (image is None) == (hits is None):
        raise click.UsageError("give --image FILE or --hits QUERY, one of the two")
    if image is not None and (where is not None or paths):
        raise click.UsageError("--where and --path choose among hits; leave out --image")
    condition = build_filter(where, paths)
    from mmsearch.answering import load_answerer
    from mmsearch.answering.asking import ask_file, ask_items, check_question, together

    question = check_question(question)
    if image is not None:
        model = load_answerer(answerer, threads=threads, device=device)
        asked = [ask_file(model, image, question, k=answers, regions=regions)]
        _write(question, asked, [], format_)
        return Exit.OK
    from mmsearch.cli.hits import pictures_found

    assert hits is not None
    items = pictures_found(store, collection, hits, k=k, where=condition, threads=threads)
    if not items:
        note("no hits to ask about")
        return Exit.NO_HITS
    model = load_answerer(answerer, threads=threads, device=device)
    asked = list(ask_items(model, items, question, k=answers, regions=regions))
    _write(question, asked, together(asked, k=answers), format_)
    return Exit.SOME_FAILED if any(one.reason for one in asked) else Exit.OK


def _write(question: str, asked: list[Asked], together: list[Answer], format_: str) -> None:
    from mmsearch.uris import printable

    if format_ == "json":
        whole = {
            "schema": 1,
            "question": question,
            "pictures": [
                {"path": one.name, "answers": _dicts(one.answers), "reason": one.reason}
                for one in asked
            ],
            "together": _dicts(together),
        }
        click.echo(json.dumps(whole, indent=2))
        return
    for one in asked:
        if one.reason:
            note(f"left out: {printable(one.name)}: {printable(one.reason)}")
        for answer in one.answers:
            where = f"  {printable(one.name)}" if together else ""
            click.echo(f"{answer.score:.3f}  {printable(answer.text)}{where}")
    for answer in together:
        click.echo(f"{answer.score:.3f}  {printable(answer.text)}  (together)")


def _dicts(answers: Any) -> list[dict[str, Any]]:
    return [{"answer": one.text, "score": round(one.score, 6)} for one in answers]
