"""`mmsearch regions`, and searches that are re-ranked over what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("transformers")
pytest.importorskip("torchvision")

from safetensors.torch import load_file  # noqa: E402

from mmsearch.region_files import RegionFiles  # noqa: E402
from tests.mmsearch.cli.conftest import Mmsearch  # noqa: E402
from tests.mmsearch.detecting.models import SMALL, WIDTH, photographs, saved  # noqa: E402
from tests.mmsearch.encoders.hf_models import WORDS  # noqa: E402
from tests.mmsearch.rerankers import models  # noqa: E402
from tests.mmsearch.rerankers.plain_uniter import Plain  # noqa: E402

ASKED = "two dogs on a beach"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("weights") / "random.pth")


@pytest.fixture
def flickr(tmp_path: Path) -> Path:
    """Three photographs: 0.jpg, 1.jpg, 2.jpg; and a table of them."""
    (tmp_path / "flickr").mkdir()
    for n, path in enumerate(photographs(3)):
        shutil.copy(path, tmp_path / "flickr" / f"{n}.jpg")
    rows = ["image,caption,split", "0.jpg,a dog,test", "1.jpg,a cat,val", "2.jpg,a,test"]
    (tmp_path / "flickr" / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "flickr"


@pytest.fixture
def made(mmsearch: Mmsearch, flickr: Path, weights: Path) -> tuple[str | Path, ...]:
    """The call that finds regions of the photographs, and wrote them to regions/."""
    call = ("regions", flickr, "--out", "regions", "--detector", SMALL, "--weights", weights,
            "--boxes", "5", "--device", "cpu", "--threads", "1")  # fmt: skip
    done = mmsearch(*call)
    assert (done.code, done.out) == (0, ""), done.err
    assert "regions of 3 pictures written" in done.err
    return call


def order(mmsearch: Mmsearch, spec: str) -> list[str]:
    """Return the names of the pictures that a search finds, the re-ranker's best first."""
    done = mmsearch("search", ASKED, "--format", "json", "--rerank-weight", "1000",
                    "--regions", "regions", "--reranker", spec)  # fmt: skip
    assert done.code == 0, done.err
    assert "could not be looked at" not in done.err
    return [Path(hit["path"]).stem for hit in json.loads(done.out)["hits"]]


def best_first(scores: dict[str, float]) -> list[str]:
    assert np.diff(sorted(scores.values())).min() > 1e-3
    return sorted(scores, key=lambda name: -scores[name])


def test_searches_are_re_ranked_over_what_was_written(
    mmsearch: Mmsearch, made: tuple[str | Path, ...], flickr: Path, tmp_path: Path
) -> None:
    assert mmsearch("index", flickr, "--model", "color").code == 0
    files = RegionFiles(tmp_path / "regions")
    seen = {}
    for name in ("0", "1", "2"):
        regions = files.of(name)
        assert regions is not None
        assert regions.features.shape == (5, WIDTH)
        seen[name] = regions.features, regions.boxes / np.tile(regions.size, 2)

    folder = models.uniter(tmp_path / "uniter", WIDTH)
    plain = Plain(load_file(folder / "model.safetensors"))
    words = [WORDS.index(word) for word in ("[CLS]", *ASKED.split(), "[SEP]")]
    logits = {name: plain.logits(words, *one, "itm_output") for name, one in seen.items()}
    wanted = best_first({name: yes - no for name, (no, yes) in logits.items()})
    assert order(mmsearch, f"uniter:{folder}") == wanted

    folder = models.lxmert(tmp_path / "lxmert", WIDTH)
    model = tf.LxmertForPreTraining.from_pretrained(folder).eval()
    scores = {}
    for name, one in seen.items():
        features, boxes = (torch.tensor(x, dtype=torch.float32)[None] for x in one)
        with torch.inference_mode():
            said = model(torch.tensor([words]), visual_feats=features, visual_pos=boxes)
        no, yes = said.cross_relationship_score[0].tolist()
        scores[name] = yes - no
    assert order(mmsearch, f"lxmert:{folder}") == best_first(scores)

    folder = models.uniter(tmp_path / "published", 2048)  # as wide as published models are
    done = mmsearch("search", ASKED, "--regions", "regions", "--reranker", f"uniter:{folder}")
    assert (done.code, done.out) == (2, "")
    assert "have 1024 features, the model takes 2048" in done.err


def test_what_is_there_stays_and_what_is_asked_anew_is_made_anew(
    mmsearch: Mmsearch, made: tuple[str | Path, ...], tmp_path: Path
) -> None:
    before = (tmp_path / "regions" / "0.npz").read_bytes()
    done = mmsearch(*made, "--quiet")
    assert "regions of 0 pictures written, of 3 they are there" in done.err
    done = mmsearch(*made, "--boxes", "4")
    assert (done.code, done.out) == (2, "")
    assert "5 boxes, and this is" in done.err
    assert (tmp_path / "regions" / "0.npz").read_bytes() == before
    assert "3 pictures written" in mmsearch(*made, "--boxes", "4", "--force").err
    done = mmsearch("regions", "flickr/pairs.csv", "--split", "test", *made[2:], "--out", "some")
    assert "regions of 2 pictures written" in done.err
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["0.npz", "2.npz"]


def test_pictures_that_cannot_be_looked_at_are_listed(
    mmsearch: Mmsearch, made: tuple[str | Path, ...], flickr: Path, tmp_path: Path
) -> None:
    (flickr / "broken.jpg").write_bytes(b"no picture")
    (flickr / "more").mkdir()
    shutil.copy(photographs(4)[3], flickr / "more" / "1.jpg")
    done = mmsearch(*made)
    assert (done.code, done.out) == (5, "")
    assert "regions of 0 pictures written, of 3 they are there, 2 failed" in done.err
    assert "broken.jpg" in done.err
    assert f"{flickr / '1.jpg'} has its name" in done.err


def test_a_wrong_call_is_one_line(
    mmsearch: Mmsearch, flickr: Path, weights: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "")
    (tmp_path / "torn.pth").write_bytes(b"torn")
    (tmp_path / "blocked" / ".0.npz.part").mkdir(parents=True)
    for code, out, more, reason in (
        (4, "out", (), "cannot be fetched"),
        (4, "out", ("--weights", "none.pth"), "there is no file of weights none.pth"),
        (4, "out", ("--weights", "torn.pth"), "torn.pth cannot be read as weights"),
        (4, "out", ("--weights", weights, "--device", "cuda:99"), "is not there"),
        (2, "blocked", ("--weights", weights), "cannot write into blocked: Is a directory"),
    ):
        done = mmsearch("regions", flickr, "-o", out, "--detector", SMALL, *more)
        assert (done.code, done.out) == (code, ""), done.err
        assert reason in done.err
    assert mmsearch("regions", "nowhere", "-o", "out").code == 2
    assert mmsearch("regions", flickr, "-o", "out", "--detector", "yolo").code == 2
    assert not (tmp_path / "out").exists()
