"""SIGKILL at random moments; the long form is `python -m tests.crash.kill_index`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash.kill_index import torture
from tests.mmsearch.conftest import paint


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_kills_at_random_moments_lose_nothing_acknowledged(tmp_path: Path) -> None:
    for n in range(250):
        paint(tmp_path / "photos" / f"{n:03}.png", (n, 255 - n, (7 * n) % 256), (320, 240))
    tally = torture(tmp_path / "photos", tmp_path, model="color", kills=25)
    assert tally.faults == []
    assert tally.kills == 25
    assert tally.midway >= 3  # else the moments were badly chosen and nothing was tested
