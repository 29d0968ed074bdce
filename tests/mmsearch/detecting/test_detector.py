"""What a detector of torchvision finds, against torchvision itself; weights that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from PIL import Image  # noqa: E402
from torchvision.transforms.functional import to_tensor  # noqa: E402

from mmsearch.detecting import DETECTORS, load_detector  # noqa: E402
from mmsearch.detecting.detector import Detector  # noqa: E402
from mmsearch.errors import BadPicture, ModelUnavailable, UnknownName  # noqa: E402
from mmsearch.images import open_picture  # noqa: E402
from tests.mmsearch.detecting.models import (  # noqa: E402
    SMALL,
    WIDTH,
    network,
    photographs,
    saved,
)


@pytest.fixture(scope="module")
def model() -> Any:
    return network()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("weights") / "random.pth")


def overlap(one: Any, other: Any) -> float:
    """Return intersection over union of two boxes."""
    left, top = np.maximum(one[:2], other[:2])
    right, bottom = np.minimum(one[2:], other[2:])
    both = max(0, right - left) * max(0, bottom - top)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(both / (sum(areas) - both))


def test_the_best_region_is_the_detection_of_torchvision(model: Any) -> None:
    model.roi_heads.score_thresh = 0.0
    detector = Detector(model, "random")
    for path in photographs():
        image = open_picture(path).image
        with torch.inference_mode():
            (own,) = model([to_tensor(image)])
        found = detector.find(image)
        best = found.boxes[0] * [*image.size, *image.size]
        np.testing.assert_allclose(best, own["boxes"][0].numpy(), atol=1e-3)
        np.testing.assert_allclose(found.scores[0], own["scores"][0], atol=1e-5)


def test_regions_are_the_surest_apart_from_one_another(model: Any) -> None:
    image = open_picture(photographs()[0]).image
    found = Detector(model, "random", boxes=36).find(image)
    assert found.boxes.shape == (36, 4)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert found.boxes.min() >= 0
    assert found.boxes.max() <= 1
    pixels = found.boxes * [*image.size, *image.size]
    pairs = [overlap(pixels[i], pixels[j]) for i in range(36) for j in range(i)]
    assert max(pairs) <= model.roi_heads.nms_thresh + 1e-4
    few = Detector(model, "random", boxes=5).find(image)
    assert few.boxes.tolist() == found.boxes[:5].tolist()


def test_features_are_what_the_box_head_makes_of_the_final_boxes(model: Any) -> None:
    image = open_picture(photographs()[1]).image
    found = Detector(model, "random", boxes=9).find(image)
    assert found.features.shape == (9, WIDTH)
    with torch.inference_mode():
        given, _ = model.transform([to_tensor(image)])
        height, width = given.image_sizes[0]
        boxes = torch.from_numpy(found.boxes) * torch.tensor([width, height, width, height])
        maps = model.backbone(given.tensors)
        for n, box in enumerate(boxes):
            pooled = model.roi_heads.box_roi_pool(maps, [box[None]], given.image_sizes)
            alone = model.roi_heads.box_head(pooled)[0]
            np.testing.assert_allclose(found.features[n], alone, rtol=1e-3, atol=1e-3)
    assert np.ptp(found.features, axis=0).max() > 0.1  # boxes make a difference


def test_a_shape_that_cannot_be_looked_at_is_told(model: Any) -> None:
    detector = Detector(model, "random")
    assert np.isfinite(detector.find(Image.new("RGB", (1, 1), "red")).features).all()
    with pytest.raises(BadPicture, match="cannot look at 4000 x 1 pixels") as raised:
        detector.find(Image.new("RGB", (4000, 1), "red"))
    assert "\n" not in str(raised.value)


def test_a_picture_without_regions_is_told(model: Any) -> None:
    before, model.rpn.score_thresh = model.rpn.score_thresh, 1.1  # no proposal is that sure
    with pytest.raises(BadPicture, match="finds nothing in it"):
        Detector(model, "random").find(open_picture(photographs()[0]).image)
    model.rpn.score_thresh = before


def test_weights_of_a_file_give_their_network_and_their_name(weights: Path, model: Any) -> None:
    image = open_picture(photographs()[0]).image
    detector = load_detector(SMALL, weights, boxes=4, threads=1, device="cpu")
    wanted = Detector(model.half().float(), "random", boxes=4).find(image)
    found = detector.find(image)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-5)
    np.testing.assert_allclose(found.features, wanted.features, rtol=1e-3, atol=1e-3)
    assert detector.name.startswith(f"{SMALL}/")
    from safetensors.torch import save_file

    state = torch.load(weights, weights_only=True)
    save_file(state, other := weights.with_name("random.safetensors"))
    again = load_detector(SMALL, other, boxes=4, threads=1, device="cpu")
    assert again.find(image).boxes.tolist() == found.boxes.tolist()
    assert again.name != detector.name


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_each_detector_finds_regions(name: str, tmp_path: Path) -> None:
    detector = load_detector(name, saved(tmp_path / "w.pth", name), threads=1, device="cpu")
    found = detector.find(open_picture(photographs()[0]).image)
    assert found.features.shape == (36, WIDTH)


class Sly:
    def __reduce__(self) -> Any:
        return print, ("run",)


LAST = "roi_heads.box_predictor.cls_score.weight"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"a": torch.ones(2)}, "it has no roi_heads.box_predictor"),
        ({LAST: torch.ones(7, 1024)}, "of its weights are missing"),
        ({LAST: torch.ones(7, 8)}, "of other sizes"),
        ({LAST: torch.full((7, 1024), torch.nan)}, "NaN or infinity"),
        ({"sly": Sly()}, "more than tensors"),
        ("text", "holds no state_dict"),
    ],
)
def test_what_is_no_detector_is_one_clear_error(
    tmp_path: Path, state: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelUnavailable, match=reason) as raised:
        load_detector(SMALL, tmp_path / "w.pth", device="cpu")
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_an_unknown_name_and_a_file_that_is_not_there_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'fasterrcnn_resnet50_fpn'"):
        load_detector("fasterrcnn_resnet50")
    with pytest.raises(ModelUnavailable, match="there is no file of weights"):
        load_detector(SMALL, tmp_path / "none.pth")
    with pytest.raises(ModelUnavailable, match="device 'cuda:99' is not there"):
        load_detector(SMALL, tmp_path / "none.pth", device="cuda:99")


def test_published_weights_that_cannot_be_had_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ModelUnavailable, match=r"cannot be fetched .* put https://.*--weights"):
        load_detector(SMALL, device="cpu")
    cache = tmp_path / "hub" / "checkpoints"
    assert list(cache.iterdir()) == []
    (cache / "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth").write_bytes(b"torn")
    with pytest.raises(ModelUnavailable, match="is damaged"):
        load_detector(SMALL, device="cpu")
