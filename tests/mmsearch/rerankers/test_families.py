"""Each family scores as transformers does, pair by pair, with a tiny random model of its class."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from mmsearch import Item, Query  # noqa: E402
from mmsearch.errors import BadRegions, ModelUnavailable  # noqa: E402
from mmsearch.images import open_picture  # noqa: E402
from mmsearch.region_files import RegionFiles  # noqa: E402
from mmsearch.reranking import load_reranker  # noqa: E402
from mmsearch.types import Reranker  # noqa: E402
from mmsearch.uris import uri_of  # noqa: E402
from tests.mmsearch.encoders.hf_models import WORDS, picture  # noqa: E402
from tests.mmsearch.rerankers import models  # noqa: E402
from tests.mmsearch.rerankers.plain_uniter import Plain  # noqa: E402

Family = tuple[str, Path]
Pair = Callable[[str, Path], float]
TEXT = "two dogs on a beach"
TEXTS = ["a cat", TEXT, "a", "cat and a dogs"]
HALVED = {"blip", "blip2"}  # their patches are kept in half precision
BOXES = [[0, 0, 9, 9], [2, 3, 40, 30], [5, 5, 64, 48]]
SIZES = [(64, 48), (48, 64), (64, 48), (33, 50)]


def given(processor: Any, path: Path, text: str) -> Any:
    return processor(images=open_picture(path).image, text=text, return_tensors="pt")


def odds_of(logits: Any, match: int = 1) -> float:
    probability = logits.double().softmax(1)[0, match].item()
    return float(np.log(probability / (1 - probability)))


def regions_of(path: Path) -> tuple[Any, Any]:
    """Return features and boxes from 0 to 1, one picture each."""
    with np.load(path.parent / "regions" / f"{path.stem}.npz") as found:
        boxes = found["boxes"] / np.tile(found["size"], 2)
        features = found["features"]
    return [torch.tensor(x, dtype=torch.float32)[None] for x in (features, boxes)]  # type: ignore[return-value]


def blip(folder: Path) -> Pair:
    model = tf.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    return lambda text, path: odds_of(model(**given(processor, path, text)).itm_score)


def blip2(folder: Path) -> Pair:
    model = tf.Blip2ForImageTextRetrieval.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)

    def pair(text: str, path: Path) -> float:
        made = model(**given(processor, path, text), use_image_text_matching_head=True)
        return odds_of(made.logits_per_image)

    return pair


def vilt(folder: Path) -> Pair:
    model = tf.ViltForImageAndTextRetrieval.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    return lambda text, path: model(**given(processor, path, text)).logits[0, 0].item()


def bridgetower(folder: Path) -> Pair:
    model = tf.BridgeTowerForImageAndTextRetrieval.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    return lambda text, path: odds_of(model(**given(processor, path, text)).logits)


def lxmert(folder: Path) -> Pair:
    model = tf.LxmertForPreTraining.from_pretrained(folder).eval()
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)

    def pair(text: str, path: Path) -> float:
        features, boxes = regions_of(path)
        words = tokenizer(text, return_tensors="pt")
        made = model(**words, visual_feats=features, visual_pos=boxes)
        return odds_of(made.cross_relationship_score)

    return pair


def visualbert(folder: Path) -> Pair:
    model = tf.VisualBertForPreTraining.from_pretrained(folder).eval()
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)

    def pair(text: str, path: Path) -> float:
        embeds, _ = regions_of(path)
        made = model(
            **tokenizer(text, return_tensors="pt"), visual_embeds=embeds,
            visual_token_type_ids=torch.ones(embeds.shape[:-1], dtype=torch.long),
            visual_attention_mask=torch.ones(embeds.shape[:-1], dtype=torch.float),
        )  # fmt: skip
        return odds_of(made.seq_relationship_logits, match=0)

    return pair


def uniter(folder: Path) -> Pair:
    plain = Plain(load_file(folder / "model.safetensors"))

    def pair(text: str, path: Path) -> float:
        features, boxes = (one[0] for one in regions_of(path))
        words = [WORDS.index(word) for word in ("[CLS]", *text.split(), "[SEP]")]
        no, yes = plain.logits(words, features, boxes, "itm_output")
        return float(yes - no)

    return pair


def vlm(folder: Path) -> Pair:
    model = tf.LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    yes, capital, no = processor.tokenizer.convert_tokens_to_ids(["yes", "Yes", "no"])

    def pair(text: str, path: Path) -> float:
        prompt = f'<image> Does this picture show: "{text}"? Answer yes or no.'
        logits = model(**given(processor, path, prompt)).logits[0, -1].double()
        return float(torch.logaddexp(logits[yes], logits[capital]) - logits[no])

    return pair


FAMILIES = {"blip": blip, "blip2": blip2, "vilt": vilt, "bridgetower": bridgetower,
            "lxmert": lxmert, "visualbert": visualbert, "uniter": uniter, "vlm": vlm}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A family's name and the folder of its tiny model."""
    folder = tmp_path_factory.mktemp(request.param) / "model"
    return request.param, getattr(models, request.param)(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Four pictures of three shapes, and a folder with the regions of each beside them."""
    rng = np.random.default_rng(0)
    (tmp_path / "regions").mkdir()
    paths = []
    for n, size in enumerate(SIZES):
        image = np.asarray(picture(size)).astype(int) + rng.integers(-60, 60, (size[1], size[0], 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{n}.png")
        paths.append(tmp_path / f"{n}.png")
        features = rng.normal(size=(3 - n % 2, models.WIDTH))
        boxes = np.minimum(BOXES[: len(features)], [*size, *size])
        np.savez(tmp_path / "regions" / f"{n}.npz", features=features, boxes=boxes, size=size)
    return paths


def items(paths: list[Path]) -> list[Item]:
    return [Item(str(p), "image", uri_of(p), stamp="1") for p in paths]


def loaded(spec: str, folder: Path, pictures: list[Path]) -> Reranker:
    regions = pictures[0].parent / "regions"
    return load_reranker(f"{spec}:{folder}", "color", threads=1, device="cpu", regions=regions)


def test_scores_are_those_of_transformers_both_ways(family: Family, pictures: list[Path]) -> None:
    spec, folder = family
    near = 1e-3 if spec in HALVED else 1e-4
    reranker = loaded(spec, folder, pictures)
    assert isinstance(reranker, Reranker)
    with torch.inference_mode():
        pair = FAMILIES[spec](folder)
        wanted = [[pair(text, path) for path in pictures] for text in TEXTS]
    assert np.ptp(wanted, axis=0).min() > 0.01  # texts and pictures make a difference
    assert np.ptp(wanted, axis=1).min() > 0.01
    for row, text in zip(wanted, TEXTS, strict=True):
        found = reranker.score(Query(text), items(pictures))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, row, atol=near)
    captions = [Item(str(n), "text", text=text) for n, text in enumerate(TEXTS)]
    for n, path in enumerate(pictures):
        found = reranker.score(Query(image=str(path), kind="text"), captions)
        np.testing.assert_allclose(found, [row[n] for row in wanted], atol=near)


def test_what_cannot_be_looked_at_has_no_score(
    family: Family, tmp_path: Path, pictures: list[Path]
) -> None:
    reranker = loaded(*family, pictures)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    some = [*items([broken, tmp_path / "gone.png", pictures[0]]), Item("t", "text", text="a cat")]
    found = reranker.score(Query(TEXT), some)
    assert np.isnan(found).tolist() == [True, True, False, True]
    assert np.isnan(reranker.score(Query(image=str(broken)), some)).all()
    assert reranker.score(Query(TEXT), []).shape == (0,)


def test_a_question_longer_than_the_model_reads_is_cut(
    family: Family, pictures: list[Path]
) -> None:
    if family[0] == "vlm":
        pytest.skip("a prompt cannot be cut")
    reranker = loaded(*family, pictures)
    assert np.isfinite(reranker.score(Query("a cat and " * 200), items(pictures))).all()


def test_a_picture_is_opened_once(tmp_path: Path, pictures: list[Path]) -> None:
    reranker = loaded("blip", models.blip(tmp_path / "model"), pictures)
    first = reranker.score(Query(TEXT), items(pictures))
    for path in pictures:
        path.unlink()
    assert reranker.score(Query(TEXT), items(pictures)).tolist() == first.tolist()
    changed = [Item(str(pictures[0]), "image", uri_of(pictures[0]), stamp="2")]
    assert np.isnan(reranker.score(Query(TEXT), changed)).all()


def test_the_name_tells_weights_apart(tmp_path: Path, pictures: list[Path]) -> None:
    one, other = models.vilt(tmp_path / "a"), models.vilt(tmp_path / "b")
    model = tf.ViltForImageAndTextRetrieval.from_pretrained(other)
    model.rank_output.bias.data += 1
    model.save_pretrained(other)
    names = [loaded("vilt", folder, pictures).name for folder in (one, other, one)]
    assert names[0] == names[2] != names[1]
    assert names[0].startswith("vilt/")


def test_what_is_no_model_of_the_family_is_one_clear_error(
    tmp_path: Path, pictures: list[Path]
) -> None:
    from tests.mmsearch.answering.models import blip as answerer
    from tests.mmsearch.answering.models import llava

    folder = models.vilt(tmp_path / "vilt")
    with pytest.raises(ModelUnavailable, match="holds a 'vilt' model, not a 'blip' one"):
        loaded("blip", folder, pictures)
    with pytest.raises(ModelUnavailable, match="another task"):
        loaded("blip", answerer(tmp_path / "answers"), pictures)
    with pytest.raises(ModelUnavailable, match="write bridgetower:DIR"):
        loaded("bridgetower", tmp_path / "nothing", pictures)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelUnavailable, match="no model that loads"):
        loaded("vilt", folder, pictures)
    with pytest.raises(ModelUnavailable, match="no chat template"):
        loaded("vlm", llava(tmp_path / "dumb", template=None), pictures)
    with pytest.raises(ModelUnavailable, match="no token for yes"):
        loaded("vlm", models.vlm(tmp_path / "sure", words=("yes",)), pictures)


@pytest.mark.parametrize("spec", ["lxmert", "visualbert", "uniter"])
def test_regions_that_are_not_the_pictures_are_one_clear_error(
    tmp_path: Path, pictures: list[Path], spec: str
) -> None:
    folder = getattr(models, spec)(tmp_path / "model")
    with pytest.raises(BadRegions, match="give --regions"):
        load_reranker(f"{spec}:{folder}", "color")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRegions, match=r"holds no \.npz file"):
        load_reranker(f"{spec}:{folder}", "color", regions=tmp_path / "empty")
    with pytest.raises(BadRegions, match="cannot be read"):
        load_reranker(f"{spec}:{folder}", "color", regions=tmp_path / "none.tsv")
    (tmp_path / "regions" / "0.npz").rename(tmp_path / "regions" / "1.npz")
    with pytest.raises(BadRegions, match="64 x 48, this one has 48 x 64"):
        loaded(spec, folder, pictures).score(Query(TEXT), items(pictures))
    np.savez(tmp_path / "regions" / "1.npz", features=np.ones((1, 7)), boxes=[[0, 0, 9, 9]],
             size=(48, 64))  # fmt: skip
    with pytest.raises(BadRegions, match="7 features, the model takes 6"):
        loaded(spec, folder, pictures).score(Query(TEXT), items(pictures))


def tsv_line(name: str, size: tuple[int, int], *, lxmert_s: bool, features: Any) -> bytes:
    def packed(rows: Any) -> str:
        return base64.b64encode(np.asarray(rows, np.float32).tobytes()).decode()

    n, (width, height) = len(features), size
    boxes = packed(BOXES[:n])
    cells = (
        [name, height, width, "", "", "", "", n, boxes, packed(features)]
        if lxmert_s
        else [name, width, height, n, boxes, packed(features)]
    )
    return "\t".join(map(str, cells)).encode() + b"\n"


@pytest.mark.parametrize("lxmert_s", [False, True])
def test_regions_of_a_tsv_are_those_of_the_folder(
    tmp_path: Path, pictures: list[Path], lxmert_s: bool
) -> None:
    features = np.random.default_rng(1).normal(size=(3, models.WIDTH)).astype(np.float32)
    lines = [tsv_line(str(n), (64, 48), lxmert_s=lxmert_s, features=features[n:]) for n in (2, 0)]
    (tmp_path / "r.tsv").write_bytes(b"".join(lines))
    files = RegionFiles(tmp_path / "r.tsv")
    found = files.of("0")
    assert found is not None
    assert found.features.tolist() == features.tolist()
    assert (found.boxes.tolist(), found.size) == (BOXES, (64, 48))
    assert files.of("COCO_val2014_000000000002").features.tolist() == features[2:].tolist()  # type: ignore[union-attr]
    assert files.of("1") is None
    assert files.of("IMG_2") is None
    folder = models.lxmert(tmp_path / "model")
    scored = load_reranker(f"lxmert:{folder}", "color", regions=tmp_path / "r.tsv", device="cpu")
    assert np.isnan(scored.score(Query(TEXT), items(pictures))).tolist() == [False, True] * 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"0\t64\t48\n", "3 columns"),
        (b"0\t64\t48\t2\t!!\t!!\n", "cannot be read as regions"),
        (b"0\tx\t48\t2\tAAAA\tAAAA\n", "cannot be read as regions"),
        (tsv_line("0", (7, 7), lxmert_s=False, features=[[1.0]]), "outside of its picture"),
    ],
)
def test_a_damaged_line_of_a_tsv_says_what_is_wrong(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    (tmp_path / "r.tsv").write_bytes(line)
    with pytest.raises(BadRegions, match=reason):
        RegionFiles(tmp_path / "r.tsv").of("0")
