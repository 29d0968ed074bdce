"""A head that answers, trained on pictures of one colour; answers are known by eye."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmsearch.answering import load_answerer
from mmsearch.answering.features import Features
from mmsearch.encoders import STARTER, load_encoder
from mmsearch.encoders.inner import STAGES, WORDS, inner_name
from mmsearch.errors import ModelUnavailable
from mmsearch.images import open_picture
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint

COLORS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230)}
WHICH = "is it red, green or blue or red"  # the encoder of colours knows no other words


def questions(folder: Path) -> Path:
    """Write 60 pictures of one colour, asked for it and for what is always the same."""
    rng = np.random.default_rng(0)
    asked = []
    for n in range(60):
        name, color = list(COLORS.items())[n % 3]
        shade = tuple(int(np.clip(c + rng.integers(-20, 20), 0, 255)) for c in color)
        paint(folder / f"{n}.png", shade)  # type: ignore[arg-type]
        split = "test" if n >= 45 else "train"
        for question, answers in ((WHICH, [name]), ("what shape", ["square", "flat"])):
            asked.append({"image": f"{n}.png", "question": question, "answers": answers,
                          "split": split})  # fmt: skip
    images = [{"filename": f"{n}.png", "split": "test" if n >= 45 else "train"} for n in range(60)]
    path = folder / "dataset.json"
    path.write_text(json.dumps({"images": images, "qa": asked}))
    return path


@pytest.fixture
def trained(mmsearch: Mmsearch, tmp_path: Path) -> tuple[Path, dict[str, object]]:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    data = questions(tmp_path / "data")
    done = mmsearch("train-answers", data, "--base", "color", "--out", tmp_path / "head",
                    "--epochs", "40", "--batch-size", "10", "--members", "2", "--threads", "1",
                    "--no-flip", "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    return tmp_path / "head", json.loads(done.out)


def test_a_head_answers_by_the_picture_and_needs_no_torch(
    mmsearch: Mmsearch,
    trained: tuple[Path, dict],
    tmp_path: Path,
) -> None:
    folder, report = trained
    figures = report["figures"]
    # half of the questions ask for the colour, which is red, green or blue alike often
    assert figures["head"]["accuracy"]["value"] == 100
    assert figures["question only"]["accuracy"]["value"] == pytest.approx(100 / 2 + 100 / 6, abs=1)
    assert figures["majority answer"]["accuracy"]["value"] == 50
    assert report["over"]["question only"]["accuracy"]["low"] > 0
    code = (
        "import sys; from mmsearch.answering import load_answerer; "
        "from mmsearch.images import open_picture; "
        f"h = load_answerer('head:{folder}', threads=1); "
        f"i = open_picture('{tmp_path / 'data' / '46.png'}').image; "
        f"print(h.answer(i, {WHICH!r})[0].text, h.answer(i, 'what shape')[0].text, sep='|'); "
        "assert not {'torch', 'onnx', 'transformers'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("green|flat, square\n", 0), done.stderr
    asked = mmsearch("ask", WHICH, "--image", tmp_path / "data" / "47.png",
                     "--answerer", f"head:{folder}")  # fmt: skip
    assert asked.out.split()[1] == "blue"
    _its_scores_sum_to_one(folder, tmp_path / "data" / "47.png")
    _eval_gives_the_same_figures(mmsearch, folder, tmp_path / "data" / "dataset.json")
    _a_damaged_folder_is_one_clear_error(folder)


def _its_scores_sum_to_one(folder: Path, picture: Path) -> None:
    head = load_answerer(f"head:{folder}", threads=1)
    answers = head.answer(open_picture(str(picture)).image, WHICH, k=10)
    assert len(answers) == 4
    assert sum(a.score for a in answers) == pytest.approx(1, abs=1e-4)


def _eval_gives_the_same_figures(call: Mmsearch, folder: Path, data: Path) -> None:
    done = call("eval-answers", data, "--split", "test", "--answerer", f"head:{folder}",
                "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["questions"] == 30
    assert found["figures"][f"head:{folder}"]["accuracy"]["value"] == 100


def _a_damaged_folder_is_one_clear_error(folder: Path) -> None:
    facts = json.loads((folder / "answers.json").read_text())
    (folder / "answers.json").write_text(json.dumps({**facts, "space": "another/0"}))
    with pytest.raises(ModelUnavailable, match="was trained on another/0"):
        load_answerer(f"head:{folder}")
    (folder / "answers.json").write_text(json.dumps(facts))
    (folder / "answers.onnx").write_bytes(b"torn")
    with pytest.raises(ModelUnavailable, match="not a working ONNX model"):
        load_answerer(f"head:{folder}")
    (folder / "answers.json").unlink()
    with pytest.raises(ModelUnavailable, match="train-answers"):
        load_answerer(f"head:{folder}")


def test_the_starter_shows_its_inside_beside_the_vector_that_it_gives(tmp_path: Path) -> None:
    features = Features("starter", threads=1)
    assert features.blocks == (1280, 120, 208, 120, 208, 192)
    image = open_picture(str(paint(tmp_path / "a.png", "red"))).image
    pixels = features.prepare(image)[None]
    seen = features.pictures(pixels)
    assert seen.shape == (1, sum(features.blocks))
    own = load_encoder("starter", threads=1).encode_images(pixels)
    np.testing.assert_allclose(seen[:, -192:], own, atol=1e-5)
    asked = features.questions(["what is this ?", "a much longer question is padded less"])
    alone = features.questions(["what is this ?"])
    assert asked.shape == (2, 2 * 384)
    np.testing.assert_allclose(asked[:1], alone, atol=1e-4)  # padding changes nothing


def test_the_inside_is_that_of_the_highest_layer() -> None:
    textual = inner_name(STARTER / "textual" / "model.onnx", WORDS)
    assert textual is not None
    assert "/layer.5/output/" in textual
    lower, upper = (inner_name(STARTER / "visual" / "model.onnx", s) for s in STAGES)
    assert lower is not None
    assert "blocks.4.3" in lower
    assert upper is not None
    assert "blocks.5.4" in upper
    assert inner_name(STARTER / "visual" / "model.onnx", WORDS) is None


def test_any_encoder_gives_its_vectors_at_least() -> None:
    features = Features("color", threads=1)
    assert len(features.blocks) == 1
    assert features.questions(["red"]).shape[0] == 1


def test_questions_without_answers_are_told(mmsearch: Mmsearch, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps({"images": [], "qa": []}))
    done = mmsearch("train-answers", tmp_path / "q.json", "--out", tmp_path / "o")
    assert done.code == 2
    assert "q.json" in done.err


def test_files_without_splits_are_learnt_whole_and_measured_on_another(
    mmsearch: Mmsearch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    for n, color in enumerate(COLORS):
        paint(tmp_path / f"COCO_train2014_{n:012d}.jpg", color)
    for name in ("a", "b"):
        asked = [{"question_id": n, "image_id": n % 3, "question": WHICH} for n in range(12)]
        notes = [{"question_id": n, "answer_type": "other", "answers": [
            {"answer": list(COLORS)[n % 3]}] * 10} for n in range(12)]  # fmt: skip
        (tmp_path / f"{name}_questions.json").write_text(
            json.dumps({"data_type": "mscoco", "data_subtype": "train2014", "questions": asked})
        )
        (tmp_path / f"{name}_annotations.json").write_text(json.dumps({"annotations": notes}))
    call = ("train-answers", tmp_path / "a_questions.json", "--base", "color", "--batch-size", "4",
            "--epochs", "2", "--members", "1", "--threads", "1", "--out", tmp_path / "head",
            "--format", "json")  # fmt: skip
    done = mmsearch(*call)
    assert done.code == 0, done.err
    assert "nothing to measure on" in done.err
    assert "figures" not in json.loads(done.out)
    done = mmsearch(*call, "--test", tmp_path / "b_questions.json")
    figures = json.loads(done.out)["figures"]
    assert list(figures["head"]) == ["VQA accuracy", "exact match", "F1"]
