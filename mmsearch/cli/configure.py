"""`mmsearch config`: the settings in force, where each comes from, and how to change one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from mmsearch.cli import COMMANDS, Exit, cli
from mmsearch.cli.config import PROJECT_FILE, default_store, read_settings, set_setting, user_file
from mmsearch.cli.options import note

# Options that every search has: shown even where nobody has set them.
USUAL = {
    "store": ("MMSEARCH_HOME", default_store),
    "collection": ("MMSEARCH_COLLECTION", lambda: "default"),
    "model": ("MMSEARCH_MODEL", lambda: "auto"),
    "threads": ("MMSEARCH_THREADS", lambda: "the cores of this machine"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting in force. source: a file, a variable, or "default"."""

    name: str
    value: Any
    source: str


@click.group("config", short_help="Show and set what commands take for granted.")
def config_command() -> None:
    """Show and set what commands take for granted.

    A setting is the long name of an option: `limit = 20` in a file is -n 20 for every command
    that has it. What counts: the option itself, then the variable MMSEARCH_*, then mmsearch.toml
    in this folder, then the user's config.toml.
    """


@config_command.command("show")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="json has a schema version.")  # fmt: skip
def show_command(format_: str) -> int:
    """Show all settings, and where each comes from."""
    found = list(_in_force())
    for s in found:
        if s.name not in USUAL and s.name not in _options():
            note(f"{s.source}: no command has an option --{s.name}.{_guess(s.name)}")
    if format_ == "json":
        rows = [{"name": s.name, "value": s.value, "source": s.source} for s in found]
        click.echo(json.dumps({"schema": 1, "settings": rows}, indent=2, default=str))
    else:
        width = max(len(s.name) for s in found)
        for s in found:
            click.echo(f"{s.name:<{width}}  {_text(s.value)}  ({s.source})")
    return Exit.OK


@config_command.command("get")
@click.argument("name")
def get_command(name: str) -> int:
    """Print one setting; exits with 1 if nothing sets it."""
    name = _known(name)
    for s in _in_force():
        if s.name == name:
            click.echo(_text(s.value))
            return Exit.OK
    return Exit.NO_HITS


@config_command.command("set")
@click.argument("name")
@click.argument("value")
@click.option("--project", is_flag=True, help=f"In ./{PROJECT_FILE}, for this folder alone.")
def set_command(name: str, value: str, project: bool) -> int:
    """Write a setting into the user's file; it is checked as the option would be."""
    name = _known(name)
    path = Path(PROJECT_FILE) if project else user_file()
    _write(path, name, _checked(name, value))
    click.echo(f"mmsearch: {name} is set in {path}", err=True)
    return Exit.OK


@config_command.command("unset")
@click.argument("name")
@click.option("--project", is_flag=True, help=f"In ./{PROJECT_FILE}.")
def unset_command(name: str, project: bool) -> int:
    """Take a setting out of the user's file; exits with 1 if it is not in it."""
    path = Path(PROJECT_FILE) if project else user_file()
    names = read_settings(path) if path.is_file() else {}
    written = next((n for n in names if n.replace("_", "-") == name.replace("_", "-")), None)
    if written is None:
        click.echo(f"mmsearch: {name} is not set in {path}", err=True)
        return Exit.NO_HITS
    _write(path, written, None)
    return Exit.OK


@config_command.command("path")
def path_command() -> int:
    """Print the files of settings, the one that counts more first; they need not be there."""
    for path in (Path(PROJECT_FILE).absolute(), user_file()):
        click.echo(os.fspath(path))
    return Exit.OK


def _in_force() -> Iterator[Setting]:
    """Yield the usual settings, then whatever else the files set."""
    found: dict[str, Setting] = {}
    for path in (user_file(), Path(PROJECT_FILE).absolute()):
        for name, value in (read_settings(path) if path.is_file() else {}).items():
            name = name.replace("_", "-")
            if name == "store" and isinstance(value, str):
                value = os.fspath(path.parent / Path(value).expanduser())
            found[name] = Setting(name, value, os.fspath(path))
    for name, (variable, default) in USUAL.items():
        if told := os.environ.get(variable):
            yield Setting(name, told, f"${variable}")
        else:
            value = default()
            usual = Setting(name, os.fspath(value) if isinstance(value, Path) else value, "default")
            yield found.get(name, usual)
    yield from (found[name] for name in sorted(set(found) - set(USUAL)))


def _options() -> dict[str, click.Option]:
    """Return all options that have a value or are a flag, by their long names."""
    ctx = click.Context(cli)
    found: dict[str, click.Option] = {}
    commands = [cli.get_command(ctx, name) for name in COMMANDS]
    # Of commands in a group, the one that takes settings: a search starts it.
    commands.append(cli.get_command(ctx, "daemon").get_command(ctx, "run"))  # type: ignore
    for command in commands:
        for option in command.params if command else ():
            if isinstance(option, click.Option):
                longest = max(option.opts, key=len)
                found.setdefault(longest.lstrip("-"), option)
    return found


def _known(name: str) -> str:
    """Return the name with - for _.

    Raises:
        click.UsageError: no command has such an option.
    """
    name = name.removeprefix("--").replace("_", "-")
    names = _options()
    if name not in names:
        raise click.UsageError(f"no command has an option --{name}.{_guess(name)}")
    return name


def _guess(name: str) -> str:
    guess = get_close_matches(name, _options(), n=1)
    return f" Did you mean {guess[0]!r}?" if guess else ""


def _checked(name: str, value: str) -> str | int | float | bool:
    """Return the value as TOML is to hold it.

    Raises:
        click.UsageError: the option would refuse it.
    """
    option = _options()[name]
    sort = click.BOOL if option.is_flag else option.type
    try:
        converted = sort.convert(value, option, click.Context(cli))
    except click.BadParameter as error:
        raise click.UsageError(f"{name}: {error.message}") from error
    return converted if isinstance(converted, bool | int | float) else value


def _write(path: Path, name: str, value: str | int | float | bool | None) -> None:
    try:
        set_setting(path, name, value)
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
