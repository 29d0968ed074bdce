"""`mmsearch ask`, with a tiny random ViLT and LXMERT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.mmsearch.cli.conftest import Mmsearch


@pytest.fixture(scope="module")
def vilt(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.mmsearch.answering import models

    return f"vilt:{models.vilt(tmp_path_factory.mktemp('vilt'))}"


def test_a_picture_is_asked(mmsearch: Mmsearch, photos: Path, vilt: str) -> None:
    done = mmsearch("ask", "two dogs", "--image", photos / "red.png", "--answerer", vilt,
                    "--answers", "2", "--format", "json")  # fmt: skip
    assert done.code == 0
    found = json.loads(done.out)
    assert found["schema"] == 1
    assert len(found["pictures"][0]["answers"]) == 2
    assert found["together"] == []


def test_hits_are_asked_and_say_something_together(
    indexed: Mmsearch, photos: Path, vilt: str
) -> None:
    done = indexed("ask", "two dogs", "--hits", "red", "-n", "2", "--answerer", vilt)
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("red.png")
    assert lines[-1].endswith("(together)")
    (photos / "red.png").unlink()
    done = indexed("ask", "two dogs", "--hits", "red", "-n", "2", "--answerer", vilt)
    assert done.code == 5
    assert "left out" in done.err
    assert len(done.out.splitlines()) == 2


def test_regions_of_another_picture_end_the_call(mmsearch: Mmsearch, photos: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.mmsearch.answering import models

    model = f"lxmert:{models.lxmert(photos.parent / 'lxmert')}"
    np.savez(photos / "red.npz", features=np.ones((1, 6)), boxes=[[0, 0, 9, 9]], size=[40, 90])
    done = mmsearch("ask", "a cat", "--image", photos / "red.png", "--answerer", model,
                    "--regions", photos / "red.npz")  # fmt: skip
    assert done.code == 2
    assert "another picture" in done.err


def test_a_wrong_call_is_told_before_a_model_is_loaded(mmsearch: Mmsearch, photos: Path) -> None:
    call = ("ask", "what?", "--answerer", "vilt:nowhere")
    assert "one of the two" in mmsearch(*call).err
    assert mmsearch(*call, "--image", photos / "red.png", "--where", "width > 1").code == 2
    assert mmsearch("ask", " ", "--image", photos / "red.png", "--answerer", "x").code == 2


def test_a_model_that_is_not_there_is_named(mmsearch: Mmsearch, photos: Path) -> None:
    pytest.importorskip("torch")
    done = mmsearch("ask", "what?", "--answerer", "vilt:nowhere", "--image", photos / "red.png")
    assert done.code == 4
    assert "nowhere does not exist" in done.err


def test_eval_takes_a_folder_of_regions_and_names_the_picture_without(
    mmsearch: Mmsearch, photos: Path
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.mmsearch.answering import models

    model = f"lxmert:{models.lxmert(photos.parent / 'lxmert')}"
    np.savez(photos / "red.npz", features=np.ones((1, 6)), boxes=[[0, 0, 9, 9]], size=[40, 30])
    names = ["red.png", "green.png"]
    asked = [{"image": n, "question": "a cat", "answers": ["cat"], "split": "test"} for n in names]
    images = [{"filename": n, "split": "test"} for n in names]
    (photos / "qa.json").write_text(json.dumps({"images": images, "qa": asked}))
    done = mmsearch("eval-answers", photos / "qa.json", "--answerer", model, "--regions", photos,
                    "--format", "json")  # fmt: skip
    assert done.code == 5
    found = json.loads(done.out)
    assert found["questions"] == 1
    assert "green.png" in found["skipped"][0]["key"]
    done = mmsearch("eval-answers", photos / "qa.json", "--answerer", model)
    assert done.code == 2
    assert "give a file of them" in done.err
