"""Each family answers and describes, end to end, with a tiny random model of its own class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
tf = pytest.importorskip("transformers")

from mmsearch.answering import load_answerer, load_captioner  # noqa: E402
from mmsearch.errors import BadRegions, ModelUnavailable, UnknownName  # noqa: E402
from mmsearch.regions import read_regions  # noqa: E402
from tests.mmsearch.answering import models  # noqa: E402
from tests.mmsearch.encoders.hf_models import picture  # noqa: E402

Build = Callable[[Path], Path]
QUESTION = "two dogs on a beach"


def regions(path: Path, *, size: tuple[int, int] = (64, 48), width: int = 6) -> Path:
    rng = np.random.default_rng(0)
    np.savez(path, features=rng.normal(size=(3, width)), boxes=[[0, 0, 9, 9]] * 3, size=size)
    return path


@pytest.mark.parametrize(
    ("spec", "build"),
    [("vilt", models.vilt), ("blip", models.blip), ("vlm", models.llava)],
)
def test_a_family_answers_the_same_each_time(tmp_path: Path, spec: str, build: Build) -> None:
    answerer = load_answerer(f"{spec}:{build(tmp_path / 'model')}", threads=1, device="cpu")
    image = picture((64, 48))
    first = answerer.answer(image, QUESTION)
    assert len(first) == 1
    assert 0 <= first[0].score <= 1
    assert answerer.answer(image, QUESTION) == first
    assert answerer.answer(image, QUESTION * 20)  # longer than the model's positions


def test_vilt_names_answers_of_its_config_best_first(tmp_path: Path) -> None:
    answerer = load_answerer(f"vilt:{models.vilt(tmp_path / 'model')}", device="cpu")
    answers = answerer.answer(picture((64, 48)), QUESTION, k=4)
    assert {a.text for a in answers} == set(models.ANSWERS.values())
    assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)


def test_lxmert_looks_at_regions_of_this_picture_alone(tmp_path: Path) -> None:
    answerer = load_answerer(f"lxmert:{models.lxmert(tmp_path / 'model')}", device="cpu")
    image = picture((64, 48))
    fitting = read_regions(str(regions(tmp_path / "a.npz")))
    answers = answerer.answer(image, QUESTION, k=4, regions=fitting)
    assert sum(a.score for a in answers) == pytest.approx(1, abs=1e-5)
    scaled = read_regions(str(regions(tmp_path / "b.npz", size=(640, 480))))
    assert answerer.answer(image, QUESTION, regions=scaled)
    with pytest.raises(BadRegions, match="give a file"):
        answerer.answer(image, QUESTION)
    other = read_regions(str(regions(tmp_path / "c.npz", size=(48, 64))))
    with pytest.raises(BadRegions, match=r"48 x 64, this one has 64 x 48"):
        answerer.answer(image, QUESTION, regions=other)
    wide = read_regions(str(regions(tmp_path / "d.npz", width=7)))
    with pytest.raises(BadRegions, match="another detector"):
        answerer.answer(image, QUESTION, regions=wide)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"features": [[1.0]]}, "lacks the arrays boxes, size"),
        ({"features": [[1.0]], "boxes": [[0, 0, 1]], "size": [9, 9]}, "are needed"),
        ({"features": [[np.nan]], "boxes": [[0, 0, 1, 1]], "size": [9, 9]}, "NaN"),
        ({"features": [[1.0]], "boxes": [[0, 0, 99, 1]], "size": [9, 9]}, "outside"),
        ({"features": [["x"]], "boxes": [[0, 0, 1, 1]], "size": [9, 9]}, "no numbers"),
    ],
)
def test_a_damaged_file_of_regions_says_what_is_wrong(
    tmp_path: Path, arrays: dict[str, object], reason: str
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BadRegions, match=reason):
        read_regions(str(tmp_path / "bad.npz"))


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(BadRegions, match="cannot be read"):
        read_regions(str(tmp_path / "bad.npz"))


@pytest.mark.parametrize(
    ("spec", "build"),
    [
        ("blip", lambda folder: models.blip(folder, tf.BlipForConditionalGeneration)),
        ("vlm", models.llava),
    ],
)
def test_a_family_describes_pictures(tmp_path: Path, spec: str, build: Build) -> None:
    captioner = load_captioner(f"{spec}:{build(tmp_path / 'model')}", threads=1, device="cpu")
    images = [picture((64, 48)), picture((32, 32))]
    captions = captioner.captions(images)
    assert len(captions) == 2
    assert captioner.captions(images[1:]) == captions[1:]


def test_what_is_no_model_of_the_family_is_one_clear_error(tmp_path: Path) -> None:
    folder = models.vilt(tmp_path / "vilt")
    with pytest.raises(ModelUnavailable, match="holds a 'vilt' model, not a 'blip' one"):
        load_answerer(f"blip:{folder}", device="cpu")
    with pytest.raises(ModelUnavailable, match="does not exist"):
        load_answerer("vilt:no-such-folder", device="cpu")
    with pytest.raises(UnknownName, match="did you mean 'vilt'"):
        load_answerer(f"vitl:{folder}")
    numbered = models.vilt(tmp_path / "numbers", id2label={0: "LABEL_0"}, label2id={"LABEL_0": 0})
    with pytest.raises(ModelUnavailable, match="lacks id2label"):
        load_answerer(f"vilt:{numbered}", device="cpu")
    with pytest.raises(ModelUnavailable, match="no chat template"):
        load_answerer(f"vlm:{models.llava(tmp_path / 'dumb', template=None)}", device="cpu")


def test_a_damaged_or_foreign_model_is_one_clear_error(tmp_path: Path) -> None:
    folder = models.vilt(tmp_path / "vilt")
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelUnavailable, match="no model that loads"):
        load_answerer(f"vilt:{folder}", device="cpu")
    # a captioner's weights under the name of an answerer: parts are missing
    captioner = models.blip(tmp_path / "blip", tf.BlipForConditionalGeneration)
    with pytest.raises(ModelUnavailable, match="another task"):
        load_answerer(f"blip:{captioner}", device="cpu")
    config = json.loads((captioner / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.Config"}
    config["model_type"] = "mine"
    (captioner / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable):
        load_captioner(f"blip:{captioner}", device="cpu")
