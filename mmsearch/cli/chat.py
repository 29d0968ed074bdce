"""`mmsearch chat`: a dialogue over the collection."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import note, store_options, threads_option

if TYPE_CHECKING:
    from mmsearch.dialogue.dialogue import Dialogue
    from mmsearch.dialogue.planners import Planner

KEY = "MMSEARCH_CHAT_KEY"


@click.command("chat", short_help="Talk about the collection with a language model.")
@click.argument("message", required=False)
@click.option("--endpoint", envvar="MMSEARCH_CHAT_ENDPOINT", metavar="URL",
              help="An OpenAI-compatible server, as in http://127.0.0.1:8000/v1.")  # fmt: skip
@click.option("--chat-model", envvar="MMSEARCH_CHAT_MODEL", metavar="NAME",
              help="The model's name there; without --endpoint a transformers folder.")  # fmt: skip
@click.option("--key-env", default=KEY, show_default=True, metavar="NAME",
              help="Environment variable that holds the server's key.")  # fmt: skip
@click.option("--answerer", envvar="MMSEARCH_ANSWERER", metavar="SPEC",
              help="Lets the model ask about pictures, as `mmsearch ask` does.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 50), default=6, show_default=True, metavar="N",
              help="Replies of the model to one message.")  # fmt: skip
@click.option("--timeout", "seconds", type=Between(1, 3600), default=120.0,
              show_default=True, metavar="S", help="Seconds for one message.")  # fmt: skip
@click.option("--device", help="Of a local model [default: the best there is].")
@threads_option
@store_options
def chat_command(
    message: str | None, endpoint: str | None, chat_model: str | None, key_env: str,
    answerer: str | None, steps: int, seconds: float, device: str | None, threads: int | None,
    store: Path, collection: str,
) -> int:  # fmt: skip
    """Talk about the collection with a language model that searches for you.

    \b
    mmsearch chat --endpoint http://127.0.0.1:8000/v1 --chat-model qwen3
    mmsearch chat "which of my photos show a dog on a beach?"       one message, then the end

    Without MESSAGE it reads messages, one a line. The model sees texts, names, keys and dates
    of what it finds, never the pictures; it can search, filter and ask, and change nothing. Its
    calls are shown on stderr.
    """
    planner = _planner(endpoint, chat_model, key_env, threads, device)
    from index_store import Store
    from mmsearch.answering import load_answerer
    from mmsearch.dialogue.dialogue import Dialogue
    from mmsearch.dialogue.tools import Tools
    from mmsearch.encoders import load_encoder
    from mmsearch.search import Engine

    with Store.open(store, readonly=True) as opened:
        found = opened.collection(collection)
        encoder = load_encoder(found.model, threads=threads, towers="text")
        asked = load_answerer(answerer, threads=threads, device=device) if answerer else None
        dialogue = Dialogue(planner, Tools(Engine(found, encoder), asked), steps=steps,
                            seconds=seconds)  # fmt: skip
        if message is not None:
            _answer(dialogue, message)
            return Exit.OK
        return _converse(dialogue)


def _planner(
    endpoint: str | None, name: str | None, key_env: str, threads: int | None, device: str | None
) -> Planner:
    from mmsearch.dialogue.planners import Endpoint, open_local
    from mmsearch.errors import MissingExtra, ModelUnavailable

    if not name:
        raise ModelUnavailable(
            "no language model: give --endpoint URL --chat-model NAME for a server, or "
            "--chat-model DIR for a model of transformers"
        )
    if endpoint:
        return Endpoint(endpoint, name, key=os.environ.get(key_env, ""))
    try:
        return open_local(name, threads=threads, device=device)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"a local language model ({error.name})", "torch") from error


def _converse(dialogue: Dialogue) -> int:
    """Answer each line of standard input; an error of the model ends one answer, not the talk."""
    from mmsearch.errors import ModelUnavailable

    terminal = sys.stdin.isatty()
    failed = False
    while True:
        if terminal:
            click.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return Exit.NO_MODEL if failed else Exit.OK
        if not line.strip():
            continue
        try:
            _answer(dialogue, line.strip())
        except ModelUnavailable as error:
            failed = True
            note(str(error))


def _answer(dialogue: Dialogue, text: str) -> None:
    from mmsearch.uris import printable

    def called(name: str, arguments: Any) -> None:
        note(f"{printable(name)} {printable(str(arguments))[:300]}")

    said = dialogue.say(text, called=called)
    # What a model writes may hold control characters, which a terminal would obey.
    click.echo("\n".join(printable(line) for line in said.splitlines()))
