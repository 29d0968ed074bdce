"""The command line: `mmsearch COMMAND`. The list of commands, and the last resort for errors.

Each command lives in a module of its own, imported when it is called: `mmsearch --help`
imports click alone.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
from importlib import import_module
from typing import Any

import click

from mmsearch.version import __version__

# name: (module, what `mmsearch --help` says)
COMMANDS = {
    "index": ("index", "Add pictures and texts to a collection."),
    "search": ("search", "Find pictures or texts by a text or a picture."),
    "batch": ("batch", "Answer many queries with one load of the model."),
    "similar": ("similar", "Find what is like a stored picture or text."),
    "dupes": ("dupes", "Find pictures that are there more than once."),
    "cluster": ("cluster", "Put pictures into groups that look alike, and name them."),
    "explain": ("explain", "Show where in a picture a text fits."),
    "ask": ("ask", "Ask a question about a picture or about hits."),
    "tag": ("tag", "Tag pictures with the labels that fit them."),
    "caption": ("caption", "Describe pictures, and keep what was written."),
    "chat": ("chat", "Talk about the collection with a language model."),
    "ocr": ("ocr", "Read the text in pictures, so that it can be searched."),
    "regions": ("regions", "Find regions of pictures by a detector, for re-rankers."),
    "reindex": ("reindex", "Embed a collection anew with another model."),
    "optimize": ("optimize", "Choose, measure and build the index that searches use."),
    "status": ("status", "Show what is stored."),
    "failures": ("status", "List the files that could not be indexed."),
    "prune": ("prune", "Forget pictures whose files are gone."),
    "verify": ("status", "Look for damage in the store."),
    "repair": ("upkeep", "Mend a damaged store and embed again what was lost."),
    "compact": ("upkeep", "Give back the room of replaced and deleted vectors."),
    "rebuild": ("upkeep", "Build the approximate index anew from the vectors."),
    "move-root": ("upkeep", "Tell the store that a folder of pictures has moved."),
    "snapshot": ("copies", "Write a copy of the store, as of this moment."),
    "restore": ("copies", "Make a snapshot the store."),
    "export": ("copies", "Write all items and vectors as Parquet files."),
    "import": ("copies", "Store what an export holds."),
    "models": ("models", "List, export, name and fetch models."),
    "eval": ("evaluate", "Measure how good the search is."),
    "eval-captions": ("caption", "Measure how good a captioner is."),
    "eval-answers": ("answers", "Measure how right an answerer is."),
    "train": ("train", "Train a model on your own pairs of pictures and texts."),
    "train-answers": ("answers", "Train a small head that answers questions."),
    "tune": ("tune", "Find the rates and sizes that suit your pairs."),
    "config": ("configure", "Show and set what commands take for granted."),
    "completion": ("completion", "Print a shell's completion script."),
    "daemon": ("daemon", "Look at the processes that keep models warm, or stop them."),
    "doctor": ("doctor", "Check this installation."),
    "demo": ("demo", "Index free pictures and ask a few questions."),
}


class Exit:
    """The exit codes. Click's own 2 means a wrong call."""

    OK = 0
    NO_HITS = 1
    USAGE = 2
    NO_INDEX = 3
    NO_MODEL = 4
    SOME_FAILED = 5
    INTERRUPTED = 130
    BROKEN_PIPE = 141  # as of a program that SIGPIPE ends; of an index, it is not done


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class _ReaderLeft(Exception):
    """The reader of our output has enough (| head). Of a BrokenPipeError click makes a 1."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except BrokenPipeError as error:
            raise _ReaderLeft from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f"mmsearch.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            guess = get_close_matches(args[0], COMMANDS, n=1)
            if not guess:
                raise
            raise click.UsageError(f"{error.message} Did you mean {guess[0]!r}?", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _by_parameter(command: click.Command, found: dict[str, Any]) -> dict[str, Any]:
    """Return settings, which have the long names of options, by the names of parameters.

    Values become texts, as on the command line: so options check them, and 3.7 is no 3.

    Raises:
        click.UsageError: a value is no text, number or truth value, nor a list of them where an
            option may be given several times.
    """
    options = {max(p.opts, key=len).lstrip("-").replace("-", "_"): p for p in command.params}
    settings: dict[str, Any] = {}
    for key, value in found.items():
        option = options.get(key)
        if option is None or option.name is None:
            continue
        several = getattr(option, "multiple", False)
        values = value if several and isinstance(value, list) else [value]
        if not all(isinstance(one, str | int | float) for one in values):
            raise click.UsageError(f"the setting {key} = {value}: this is no value for --{key}")
        texts = [str(one) for one in values]
        settings[option.name] = texts if several else texts[0]
    return settings


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done or hits, 1 no hits, 2 wrong call, 3 no usable index, "
    "4 model unavailable, 5 some files failed, 130 interrupted, 141 nobody reads the output.",
)
@click.version_option(__version__, prog_name="mmsearch")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Search your pictures by text or by picture. Offline.

    mmsearch index ~/Pictures, then mmsearch search "a dog catching a frisbee".
    """
    from mmsearch.cli.config import settings

    ctx.obj = {"debug": debug}
    found, called = settings(), ctx.invoked_subcommand
    command = cli.get_command(ctx, called) if called else None
    if called in {"search", "batch", "explain"}:
        # The files' model is for new collections; one that is there is searched with its own.
        found.pop("model", None)
    if called in {"search", "explain"}:
        # Before numpy is imported: a query's products are too small to be shared among threads.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if called and command:
        ctx.default_map = {called: _by_parameter(command, found)}


def run() -> None:
    """Run the command line as a process of its own; never returns."""
    if sys.argv[1:2] != ["search"]:
        main()
    # One query and out: looking for garbage, and taking the interpreter and the model apart at
    # the end, would cost a tenth of a cold one, and nothing of it is open by then.
    gc.disable()
    try:
        main()
    except SystemExit as left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(left.code if isinstance(left.code, int) else 1)


def main(args: list[str] | None = None) -> None:
    """Run the command line; never returns, but by SystemExit."""
    _open_streams()
    arguments = sys.argv[1:] if args is None else args
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except (BrokenPipeError, _ReaderLeft):
        _drop_output()
        code = Exit.BROKEN_PIPE
    except OSError as error:
        # Of a file of its own it would have a name, and be told where it is written.
        if error.filename is not None or error.errno not in _FULL or "--debug" in arguments:
            raise
        _drop_output()
        code = Exit.USAGE
        _say(f"cannot write the output: {error.strerror}", arguments, code, "OutputFailed")
    raise SystemExit(code)


def _open_streams() -> None:
    """Open the standard streams that the caller closed (>&-) on the null device.

    Else the next file that is opened would get such a stream's number, and with it what a
    library written in C has to say.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        fd = os.open(os.devnull, os.O_RDWR)
        try:
            os.fstat(number)
        except OSError:
            os.dup2(fd, number)
        setattr(sys, name, os.fdopen(fd, mode))


def _drop_output() -> None:
    """Send what is left in the buffer nowhere; it is written when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _call(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    try:
        code = cli.main(arguments, prog_name="mmsearch", standalone_mode=False)
        return code if isinstance(code, int) else Exit.OK
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what was acknowledged is stored, run again to go on", arguments, 130)
        return Exit.INTERRUPTED
    except click.ClickException as error:
        if not _wants_json(arguments):
            error.show()
        else:
            _say(error.format_message(), arguments, error.exit_code, type(error).__name__)
        return error.exit_code
    except Exception as error:
        found = exit_code(error)
        if found is None or "--debug" in arguments:
            raise
        _say(str(error), arguments, found, type(error).__name__)
        return found


def exit_code(error: Exception) -> int | None:
    """Return the code for an error that is ours; None for any other."""
    from index_store import errors as store
    from mmsearch import errors

    wrong_calls = errors.BadQuery | errors.BadSource | errors.BadModelName | errors.BadRegions
    if isinstance(error, store.BadFilter | wrong_calls):
        return Exit.USAGE
    if isinstance(error, errors.MmsearchError):
        return Exit.NO_MODEL
    return Exit.NO_INDEX if isinstance(error, store.StoreError) else None


def _say(message: str, arguments: list[str], code: int, sort: str = "Interrupted") -> None:
    """Write one error to stderr: a line for people, or JSON where JSON was asked for."""
    if _wants_json(arguments):
        error: dict[str, Any] = {"type": sort, "message": message, "exit_code": code}
        click.echo(json.dumps({"schema": 1, "error": error}), err=True)
    else:
        click.echo(f"mmsearch: {message}", err=True)


def _wants_json(arguments: list[str]) -> bool:
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(
        (a == "--format" and b in {"json", "jsonl"}) or a in {"--format=json", "--format=jsonl"}
        for a, b in pairs
    )
