"""Where settings come from: flag > MMSEARCH_* > ./mmsearch.toml > the user's config.toml."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import click

PROJECT_FILE = "mmsearch.toml"


def user_file() -> Path:
    """Return the path of the user's settings, by the customs of the system (XDG on Linux)."""
    from platformdirs import user_config_path

    return user_config_path("mmsearch", appauthor=False) / "config.toml"


def default_store() -> Path:
    """Return the folder of the index if nothing else is said.

    A portable one, here or in the nearest folder above; else the system's place for data.
    """
    with contextlib.suppress(OSError):  # the working directory may be gone
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / ".mmsearch" / "meta.db").is_file():
                return folder / ".mmsearch"
    from platformdirs import user_data_path

    return user_data_path("mmsearch", appauthor=False) / "store"


def settings() -> dict[str, Any]:
    """Return the settings of both files, the project's over the user's.

    Keys are the long names of options with _ for -. A relative `store` is meant from the
    folder of the file that says it.

    Raises:
        click.UsageError: a file is no valid TOML, or cannot be read.
    """
    merged: dict[str, Any] = {}
    for path in (user_file(), Path(PROJECT_FILE)):
        if not path.is_file():
            continue
        found = read_settings(path)
        if isinstance(found.get("store"), str):
            found["store"] = os.fspath(path.parent / Path(found["store"]).expanduser())
        merged |= {name.replace("-", "_"): value for name, value in found.items()}
    return merged


def default_model() -> tuple[str, str]:
    """Return the model that a new collection gets, and which setting says so ("" for none).

    Raises:
        click.UsageError: a file is no valid TOML, or cannot be read.
    """
    if spec := os.environ.get("MMSEARCH_MODEL"):
        return spec, "$MMSEARCH_MODEL"
    spec = settings().get("model")
    if spec is None:
        return "auto", ""
    project = Path(PROJECT_FILE)
    here = project.is_file() and "model" in read_settings(project)
    return str(spec), str(project.absolute() if here else user_file())


def set_setting(path: Path, name: str, value: str | int | float | bool | None) -> None:
    """Write one setting into a file, all else in it kept; None takes it out.

    Raises:
        click.UsageError: the file is no valid TOML, or has the setting where this cannot
            change it; the value is no Unicode.
        OSError: it cannot be written.
    """
    from mmsearch.files import write_whole
    from mmsearch.uris import is_text, printable

    before = read_settings(path) if path.is_file() else {}
    lines = path.read_text(encoding="utf8").splitlines() if path.is_file() else []
    line = f"{name} = {_toml(value)}"
    if isinstance(value, str) and not is_text(value):
        raise click.UsageError(f"{name}: {printable(value)} is no UTF-8, which TOML is written in")
    wanted = {k: v for k, v in before.items() if k != name}
    at = next((i for i, found in enumerate(lines) if re.match(rf"\s*{name}\s*=", found)), None)
    if value is not None:
        wanted[name] = value
        if name not in before:
            lines.insert(0, line)  # before the first table, which would swallow it
        elif at is not None:
            lines[at] = line
    elif at is not None:
        del lines[at]
    changed = "".join(f"{line}\n" for line in lines)
    if _parsed(changed) != wanted:
        raise click.UsageError(f"{path}: write {line} into it by hand; its form is unusual")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(changed.encode()))


def read_settings(path: Path) -> dict[str, Any]:
    """Return a file of settings.

    Raises:
        click.UsageError: it is no valid TOML, or cannot be read.
    """
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path}: {error}") from error


def _parsed(text: str) -> dict[str, Any] | None:
    import tomllib

    try:
        return tomllib.loads(text)
    except ValueError:
        return None


def _toml(value: str | int | float | bool | None) -> str:
    """Return a TOML value: JSON's strings, numbers and truth values are among TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
