"""Whose a folder is."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from mmsearch.errors import BadSource  # noqa: E402  (only where torch is)
from mmsearch.train.saving import claim_folder  # noqa: E402


def claim(folder, identity: str, *forget: str) -> None:
    claim_folder(
        folder / "run.json",
        {"identity": identity},
        what="training run",
        changed=lambda found: [found["identity"]],
        forget=forget,
    )


def test_a_folder_of_another_run_is_refused_and_one_of_other_things_too(tmp_path):
    claim(tmp_path / "run", "a")
    claim(tmp_path / "run", "a")
    with pytest.raises(BadSource, match=r"a training run of other settings \(a\)"):
        claim(tmp_path / "run", "b")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("you")
    with pytest.raises(BadSource, match="is not empty and holds no training run"):
        claim(tmp_path / "letters", "a", "dear.txt")
    assert (tmp_path / "letters" / "dear.txt").exists()


def test_a_run_that_is_forgotten_gives_way_even_where_it_left_a_log(tmp_path):
    claim(tmp_path, "a")
    for name in ("resume.pt", "log.jsonl"):
        (tmp_path / name).write_text("")
    claim(tmp_path, "b", "run.json", "resume.pt")
    assert json.loads((tmp_path / "run.json").read_text()) == {"identity": "b"}
    assert not (tmp_path / "resume.pt").exists()
