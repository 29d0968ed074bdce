"""The names that the user has given to models of their own: one JSON file in the data folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mmsearch.errors import ModelUnavailable

FORMAT = 1


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model under a name.

    spec: what the name stands for. dim, image_size, space: as they were when it was added.
    copied: its files are a copy in the user's data folder.
    """

    name: str
    spec: str
    dim: int
    image_size: int
    space: str
    copied: bool


def names_file() -> Path:
    """Return the path of the file, which need not be there."""
    return data_folder() / "models.json"


def data_folder() -> Path:
    """Return the system's place for the user's data of mmsearch."""
    from platformdirs import user_data_path

    return user_data_path("mmsearch", appauthor=False)


def read_named() -> dict[str, NamedModel]:
    """Return the models by name, sorted.

    Raises:
        ModelUnavailable: the file is damaged, or of a newer version.
    """
    path = names_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"the list of your models, {path}, is damaged: {error}") from error
    try:
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}, not {FORMAT}")
        return {name: NamedModel(name, **entry) for name, entry in sorted(found["models"].items())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelUnavailable(
            f"the list of your models, {path}, cannot be understood: {error}"
        ) from error


@contextmanager
def changed_names() -> Iterator[dict[str, NamedModel]]:
    """Give the models by name, to be changed; written when the block ends without an error.

    Another process that changes them waits.

    Raises:
        ModelUnavailable: as `read_named`.
        OSError: the data folder cannot be written; the list is as it was.
    """
    from filelock import FileLock

    from mmsearch.files import write_json

    path = names_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name("models.lock")):
        models = read_named()
        yield models
        entries = {}
        for name, model in sorted(models.items()):
            entries[name] = asdict(model)
            del entries[name]["name"]
        write_json(path, {"format": FORMAT, "models": entries})
