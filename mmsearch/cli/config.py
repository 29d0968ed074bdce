"""Where settings come from: flag > MMSEARCH_* > ./mmsearch.toml > the user's config.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

PROJECT_FILE = "mmsearch.toml"


def user_file() -> Path:
    """Return the path of the user's settings, by the customs of the system (XDG on Linux)."""
    from platformdirs import user_config_path

    return user_config_path("mmsearch", appauthor=False) / "config.toml"


def default_store() -> Path:
    """Return the folder of the index if nothing else is said: the system's place for data."""
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
        import tomllib

        try:
            found = tomllib.loads(path.read_text(encoding="utf8"))
        except (OSError, ValueError) as error:
            raise click.UsageError(f"{path}: {error}") from error
        if isinstance(found.get("store"), str):
            found["store"] = os.fspath(path.parent / Path(found["store"]).expanduser())
        merged |= {name.replace("-", "_"): value for name, value in found.items()}
    return merged
