"""What the tests of all packages share."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"

# Tests of an extra skip where it is not installed. Where all are meant to be, as in `.ci/run`, a
# missing one is a failure: else a whole part could go untested and nobody would see it.
if os.environ.get("MMSEARCH_REQUIRE_EXTRAS"):

    def _required(name: str, *_: Any, **__: Any) -> Any:
        return import_module(name)

    pytest.importorskip = _required


def shared_data(name: str) -> Path:
    """Return the folder of a shared data set; skip the test where it is absent."""
    folder = _SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the shared data set {name!r} is not beside the checkout")
    return folder
