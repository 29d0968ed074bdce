"""What the tests of all packages share."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """Return the folder of a shared data set; skip the test where it is absent."""
    folder = _SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the shared data set {name!r} is not beside the checkout")
    return folder
