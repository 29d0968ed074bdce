"""Models written as ONNX; the reference is the torch model that each came from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")
onnx = pytest.importorskip("onnx")

from mmsearch.encoders import STARTER, load_encoder  # noqa: E402
from mmsearch.encoders.bundle import read_bundle  # noqa: E402
from mmsearch.errors import BadSource, ExportFailed  # noqa: E402
from mmsearch.models.attention import as_one_operator  # noqa: E402
from mmsearch.models.export import export_model  # noqa: E402
from mmsearch.models.picking import PICKED  # noqa: E402
from mmsearch.models.probes import TEXTS, find_probes  # noqa: E402
from mmsearch.models.tokenizers import check_tokens, write_tokenizer  # noqa: E402
from mmsearch.models.towers import write_images  # noqa: E402
from tests.mmsearch.conftest import paint  # noqa: E402
from tests.mmsearch.encoders.hf_models import BUILDERS, picture  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
# The shape of PE-Core and the like: the text tower is a module of its own.
CUSTOM = CLIP | {"custom_text": True}
# The shape of SigLIP: a text tower that reads its padding.
READS_PADDING = CLIP | {
    "custom_text": True,
    "text_cfg": CLIP["text_cfg"] | {"no_causal_mask": True, "pool_type": "last"},
}
OPEN_CLIP = {"tiny-clip": CLIP, "tiny-custom": CUSTOM, "tiny-padding": READS_PADDING}


@pytest.fixture
def open_clip_spec(tmp_path):
    """A function that makes a random model of an architecture, and returns its spec."""

    def make(arch):
        folder = tmp_path / "architectures"
        folder.mkdir(exist_ok=True)
        (folder / f"{arch}.json").write_text(json.dumps(OPEN_CLIP[arch]))
        open_clip.add_model_config(folder)
        torch.manual_seed(0)
        torch.save(open_clip.create_model(arch).state_dict(), folder / f"{arch}.pt")
        return f"open_clip:{arch}/{folder / f'{arch}.pt'}"

    return make


@pytest.fixture
def hf_spec(tmp_path):
    def make(family):
        torch.manual_seed(0)
        BUILDERS[family](tmp_path / family)
        return f"hf:{tmp_path / family}"

    return make


def assert_same_vectors(source, other, *, atol=1e-4):
    images = [picture(size) for size in ((80, 50), (31, 90), (400, 300))]
    expected = source.encode_images(np.stack([source.prepare(i) for i in images]))
    rows = other.encode_images(np.stack([other.prepare(i) for i in images]))
    np.testing.assert_allclose(rows, expected, atol=atol)
    texts = [*TEXTS, "a cat and two dogs on a beach"]
    expected = source.encode_texts(texts)
    np.testing.assert_allclose(other.encode_texts(texts), expected, atol=atol)
    alone = np.concatenate([other.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(alone, expected, atol=atol)


@pytest.mark.parametrize("family", ["clip", "siglip", "vit_bert", "chinese_clip", "alt_clip"])
def test_a_transformers_model_gives_the_same_vectors_as_onnx(family, hf_spec, tmp_path):
    spec = hf_spec(family)
    made = export_model(spec, tmp_path / "out")
    assert made.any_length == (family != "siglip")  # which reads its padding
    assert_same_vectors(load_encoder(spec), load_encoder(f"onnx:{tmp_path / 'out'}"))


@pytest.mark.parametrize("arch", OPEN_CLIP)
def test_an_open_clip_model_gives_the_same_vectors_as_onnx(arch, open_clip_spec, tmp_path):
    spec = open_clip_spec(arch)
    made = export_model(spec, tmp_path / "out")
    assert made.any_length == (arch != "tiny-padding")
    encoder = load_encoder(f"onnx:{tmp_path / 'out'}")
    assert encoder.space.name == made.space
    assert_same_vectors(load_encoder(spec, device="cpu"), encoder)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_attention_to_pictures_is_one_operator_a_layer(family, hf_spec, tmp_path):
    model = load_encoder(hf_spec(family), device="cpu").model
    layers = model.module.config.vision_config.num_hidden_layers
    write_images(model, tmp_path / "m.onnx")
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "m.onnx")).graph.node]
    assert kinds.count("MultiHeadAttention") == layers
    assert kinds.count("Softmax") == (family == "siglip")  # its pooling asks for the weights, too


@pytest.mark.parametrize("family", ["clip", "metaclip_2", "chinese_clip", "alt_clip"])
def test_the_last_block_sees_the_class_token_alone_where_it_alone_is_kept(
    family, hf_spec, tmp_path
):
    model = load_encoder(hf_spec(family), device="cpu").model
    write_images(model, tmp_path / "m.onnx")
    nodes = onnx.load(str(tmp_path / "m.onnx")).graph.node
    alone = [node for node in nodes if node.output[0].endswith(PICKED)]
    # what the block ends with: the products of attention's rows and of the two layers behind it
    assert sum(node.op_type == "MatMul" for node in alone) >= 3


def test_of_open_clip_queries_too_are_of_the_class_token_alone(open_clip_spec, tmp_path):
    model = load_encoder(open_clip_spec("tiny-clip"), device="cpu").model
    write_images(model, tmp_path / "m.onnx")
    nodes = onnx.load(str(tmp_path / "m.onnx")).graph.node
    alone = [node.op_type for node in nodes if node.output[0].endswith(PICKED)]
    assert alone.count("MultiHeadAttention") == 1
    assert alone.count("MatMul") == 4


def test_torch_is_as_before_when_a_tower_has_been_written(open_clip_spec, tmp_path):
    before = torch.nn.functional.scaled_dot_product_attention
    model = load_encoder(open_clip_spec("tiny-clip"), device="cpu").model
    write_images(model, tmp_path / "m.onnx")
    assert torch.nn.functional.scaled_dot_product_attention is before
    assert not any("forward" in vars(module) for module in model.module.modules())


def test_attention_with_a_mask_or_with_weights_is_torchs_own():
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    rows, mask = torch.randn(2, 3, 8), torch.ones(3, 3).triu(1).bool()
    asked = [{}, {"need_weights": False}, {"attn_mask": mask, "need_weights": False}]
    expected = [attention(rows, rows, rows, **how) for how in asked]
    with as_one_operator(attention):
        found = [attention(rows, rows, rows, **how) for how in asked]
    for (a, weights), (b, theirs) in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
        assert (weights is None) == (theirs is None)


def test_the_source_itself_is_left_in_inference_mode(hf_spec, tmp_path):
    from mmsearch.encoders.onnx_writer import write_tower

    model = load_encoder(hf_spec("clip"), device="cpu").model
    pixels = torch.zeros(2, 3, 32, 32)
    write_tower(tmp_path / "m.onnx", model.module, model.images, (pixels,), {"image": {0: "n"}})
    assert not any(module.training for module in model.module.modules())


def test_the_export_of_the_starter_is_the_starter(tmp_path):
    made = export_model("starter", tmp_path / "out")
    assert made.space == load_encoder("starter").space.name
    assert made.pictures.least > 0.9999


def test_weights_lie_beside_the_graphs_and_the_check_is_recorded(hf_spec, tmp_path):
    made = export_model(hf_spec("clip"), tmp_path / "out")
    assert (tmp_path / "out/textual/model.onnx.data").stat().st_size > 1000
    checked = json.loads((tmp_path / "out/config.json").read_text())["checked"]
    assert checked["pictures"] == made.pictures.as_dict()
    assert checked["texts"]["n"] == len(TEXTS)
    assert checked["texts"]["least"] > 0.9999
    assert read_bundle(tmp_path / "out").weights_hash == made.space.partition("/")[2]


def test_int8_has_8_bit_products_is_smaller_and_is_measured(tmp_path):
    export_model("starter", tmp_path / "out", int8=True, least=0.9)
    graph = onnx.load(str(tmp_path / "out/textual/model.onnx"), load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("DynamicQuantizeMatMul") + kinds.count("MatMulIntegerToFloat") > 30
    visual = onnx.load(str(tmp_path / "out/visual/model.onnx"), load_external_data=False).graph
    assert not any("ConvInteger" in node.op_type for node in visual.node)
    size = sum(f.stat().st_size for f in (tmp_path / "out").rglob("model.onnx.data"))
    assert size < sum(f.stat().st_size for f in STARTER.rglob("model.onnx.data"))
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["checked"]["int8"]
    assert 0.9 < config["checked"]["texts"]["least"] < 0.99999
    assert config["weights_hash"] != load_encoder("starter").space.name.partition("/")[2]
    load_encoder(f"onnx:{tmp_path / 'out'}").encode_texts(["a dog"])


def test_the_text_tower_is_written_as_onnx_runtime_simplifies_it(hf_spec, tmp_path):
    export_model(hf_spec("clip"), tmp_path / "out")
    assert json.loads((tmp_path / "out/config.json").read_text())["optimized"] == ["textual"]
    graph = onnx.load(str(tmp_path / "out/textual/model.onnx"), load_external_data=False).graph
    assert "Constant" not in {node.op_type for node in graph.node}  # the exporter writes many


def test_a_copy_that_differs_is_refused_and_leaves_nothing(hf_spec, tmp_path):
    spec = hf_spec("clip")
    with pytest.raises(ExportFailed, match=r"least cosine .* on 14 pictures"):
        export_model(spec, tmp_path / "out", least=1.1)
    assert not (tmp_path / "out").exists()
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_a_folder_with_something_in_it_is_not_touched(hf_spec, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "holiday.jpg").write_text("mine")
    for force in (False, True):
        with pytest.raises(BadSource, match="not empty"):
            export_model("starter", out, force=force)
    assert [p.name for p in out.iterdir()] == ["holiday.jpg"]


def test_force_replaces_a_model_only_by_one_that_passes(hf_spec, tmp_path):
    out = tmp_path / "out"
    first = export_model(hf_spec("clip"), out)
    with pytest.raises(BadSource, match="--force to replace"):
        export_model(hf_spec("vit_bert"), out)
    with pytest.raises(ExportFailed):
        export_model(hf_spec("vit_bert"), out, force=True, least=1.1)
    assert load_encoder(f"onnx:{out}").space.name == first.space
    second = export_model(hf_spec("vit_bert"), out, force=True)
    assert load_encoder(f"onnx:{out}").space.name == second.space != first.space


def test_a_tokenizer_that_cannot_be_written_is_named(hf_spec, tmp_path):
    from mmsearch.encoders.tokens import Tokens

    spec = hf_spec("clip")
    export_model(spec, tmp_path / "out")
    model = load_encoder(spec, device="cpu").model
    file = tmp_path / "out/textual/tokenizer.json"
    file.write_text(file.read_text().replace('"a":4', '"e":4'))
    with pytest.raises(ExportFailed, match="cannot be written as a tokenizer"):
        check_tokens(model, Tokens(read_bundle(tmp_path / "out"), 12))
    slow = replace(model, tokenizer="a tokenizer in Python")
    with pytest.raises(ExportFailed, match="'fast' ones"):
        write_tokenizer(slow, tmp_path / "other")


def test_pictures_to_check_on_can_be_named_and_must_be_there(tmp_path):
    paint(tmp_path / "photos/red.png", "red")
    (tmp_path / "photos/red.txt").write_text("something red")
    probes = find_probes("starter", str(tmp_path / "photos"))
    assert len(list(probes.pictures())) == 1
    assert probes.texts[0] == "something red"
    (tmp_path / "none").mkdir()
    with pytest.raises(BadSource, match="no pictures"):
        find_probes("starter", str(tmp_path / "none"))


def test_a_checkpoint_is_checked_on_its_held_out_pictures(tmp_path):
    from mmsearch.train.trainable import describe

    red = paint(tmp_path / "red.png", "red")
    describe(tmp_path, "starter", pictures=[str(red), "/gone.png"], texts=["something red"])
    probes = find_probes(f"checkpoint:{tmp_path}")
    assert probes.source == "held out from its training"
    assert len(probes.openers) == 1
    assert probes.texts[0] == "something red"


def test_generated_pictures_are_called_so(monkeypatch):
    monkeypatch.setattr("mmsearch.photos.find_spec", lambda name: None)
    probes = find_probes("starter")
    assert "generated" in probes.source
    sizes = [image.size for image in probes.pictures()]
    assert len(set(sizes)) == len(sizes) == 8


@pytest.fixture
def pairs(tmp_path):
    """A table of 40 pictures of one colour each, with a caption."""
    rng = np.random.default_rng(1)
    lines = ["image,caption"]
    for n, color in enumerate(rng.integers(256, size=(40, 3)).tolist()):
        paint(tmp_path / f"pairs/{n}.png", tuple(color))
        lines.append(f"{n}.png,a picture of colour number {n} {bytes(color).hex()}")
    table = tmp_path / "pairs/table.csv"
    table.write_text("\n".join(lines))
    return str(table)


@pytest.mark.parametrize("how", ["onnx", "int8"])
def test_hubness_is_taken_off_in_the_graph_too(how, open_clip_spec, pairs, tmp_path):
    spec = open_clip_spec("tiny-clip")
    if how == "onnx":
        export_model(spec, tmp_path / "plain")
        spec = f"onnx:{tmp_path / 'plain'}"
    made = export_model(spec, tmp_path / "out", debias=[pairs], int8=how == "int8", least=0.9)
    assert made.pictures.least > (0.9 if how == "int8" else 0.999)
    assert made.debiased.bank == 32
    assert json.loads((tmp_path / "out/config.json").read_text())["debiased"]["bank"] == 32
    source, encoder = load_encoder(spec, device="cpu"), load_encoder(f"onnx:{tmp_path / 'out'}")
    assert encoder.space.dim == source.space.dim + 2
    assert made.space == encoder.space.name
    images = [picture(size) for size in ((80, 50), (31, 90), (400, 300))]
    texts = ["two dogs", "a red car in the street"]
    plain, fair = (
        e.encode_texts(texts) @ e.encode_images(np.stack([e.prepare(i) for i in images])).T
        for e in (source, encoder)
    )
    # What is taken off is one number a picture.
    if how == "int8":
        return
    share = (fair[0] - fair[1]) @ (plain[0] - plain[1]) / np.sum((plain[0] - plain[1]) ** 2)
    rest = fair - share * plain
    assert 0.3 < share < 1
    np.testing.assert_allclose(rest[0], rest[1], atol=1e-4)
    assert np.ptp(rest) > 0.001


def test_a_copy_without_hubness_can_be_copied_in_8_bits(open_clip_spec, pairs, tmp_path):
    export_model(open_clip_spec("tiny-clip"), tmp_path / "fair", debias=[pairs])
    made = export_model(f"onnx:{tmp_path / 'fair'}", tmp_path / "out", int8=True, least=0.9)
    assert made.int8
    graph = onnx.load(str(tmp_path / "fair/visual/model.onnx"), load_external_data=False)
    domains = [entry.domain for entry in graph.opset_import]
    assert len(domains) == len(set(domains))
