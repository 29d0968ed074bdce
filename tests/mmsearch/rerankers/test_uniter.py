"""`uniter`: checkpoints as they were published, on real pictures; and what is none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import save_file  # noqa: E402

from mmsearch import Item, Query  # noqa: E402
from mmsearch.errors import ModelUnavailable  # noqa: E402
from mmsearch.images import open_picture  # noqa: E402
from mmsearch.reranking import load_reranker  # noqa: E402
from mmsearch.types import Reranker  # noqa: E402
from mmsearch.uris import uri_of  # noqa: E402
from tests.conftest import shared_data  # noqa: E402
from tests.mmsearch.rerankers.models import UNITER, WIDTH, uniter, uniter_state  # noqa: E402
from tests.mmsearch.rerankers.plain_uniter import Plain  # noqa: E402

# Cased, as UNITER's own words are: "A" is none of these, "Cat" is.
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "Cat", "two", "dog", "##s", "on", "beach", "."]
TEXT, NUMBERS = "A Cat, two dogs on a beach.", [2, 1, 5, 1, 6, 7, 8, 9, 4, 10, 11, 3]

Seen = dict[Path, tuple[Any, Any]]


def published(folder: Path, state: dict[str, Any]) -> Path:
    """Write a folder with the files that UNITER was published as."""
    folder.mkdir()
    torch.save(state, folder / "uniter-tiny.pt")
    (folder / "uniter-tiny.json").write_text(json.dumps(UNITER))
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    return folder


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    """Random regions (features, boxes from 0 to 1) of six photographs; files of them are in
    tmp_path/regions."""
    (tmp_path / "regions").mkdir()
    rng = np.random.default_rng(0)
    found = {}
    for n, path in enumerate(sorted((shared_data("flickr8k") / "test").glob("*.jpg"))[:6]):
        size = open_picture(path).image.size
        boxes = np.sort(rng.uniform(size=(10 + n % 3, 2, 2)), axis=1).reshape(-1, 4)
        features = rng.normal(size=(len(boxes), WIDTH))
        np.savez(tmp_path / "regions" / f"{path.stem}.npz", features=features, size=size,
                 boxes=boxes * np.tile(size, 2))  # fmt: skip
        found[path] = features, boxes
    return found


def opened(folder: Path, tmp_path: Path) -> Reranker:
    regions = tmp_path / "regions"
    return load_reranker(f"uniter:{folder}", "color", threads=1, device="cpu", regions=regions)


def scores(reranker: Reranker, seen: Seen) -> list[float]:
    items = [Item(str(path), "image", uri_of(path)) for path in seen]
    return [float(one) for one in reranker.score(Query(TEXT), items)]


def test_a_published_checkpoint_gives_the_log_odds_of_its_class_1(
    tmp_path: Path, seen: Seen
) -> None:
    state = uniter_state()
    plain = Plain(state)
    logits = [plain.logits(NUMBERS, *one, "itm_output") for one in seen.values()]
    wanted = [yes - no for no, yes in logits]
    assert np.ptp(wanted) > 0.1
    # What its files hold besides, which is not read: heads of the other tasks.
    more = {"cls.predictions.bias": torch.ones(12), "feat_regress.bias": torch.ones(WIDTH)}
    found = scores(opened(published(tmp_path / "m", state | more), tmp_path), seen)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_one_that_was_tuned_for_retrieval_gives_the_logit_of_that_head(
    tmp_path: Path, seen: Seen
) -> None:
    state = uniter_state() | uniter_state(head="rank_output")
    plain = Plain(state)
    wanted = [plain.logits(NUMBERS, *one, "rank_output")[0] for one in seen.values()]
    found = scores(opened(published(tmp_path / "m", state), tmp_path), seen)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def old_names(state: dict[str, Any]) -> dict[str, Any]:
    ends = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    for new, old in ends:
        state = {name.replace(new, old): one for name, one in state.items()}
    return state


@pytest.mark.parametrize(
    "written",
    [
        old_names,
        lambda state: {f"module.{name}": one for name, one in state.items()},
        lambda state: {"model": state, "step": 7},
        lambda state: state | {"uniter.embeddings.position_ids": torch.arange(20)[None]},
    ],
    ids=["gamma and beta", "module.", "a dict around", "position_ids"],
)
def test_other_ways_to_write_the_same_weights_give_the_same_scores(
    tmp_path: Path, seen: Seen, written: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    first = opened(published(tmp_path / "a", uniter_state()), tmp_path)
    other = opened(published(tmp_path / "b", written(uniter_state())), tmp_path)
    assert scores(other, seen) == scores(first, seen)
    assert other.name != first.name  # hashes of files that differ


def test_weights_are_found_by_each_of_their_names(tmp_path: Path, seen: Seen) -> None:
    torch.save(uniter_state(), (folder := uniter(tmp_path / "a")) / "pytorch_model.bin")
    wanted = scores(opened(folder, tmp_path), seen)
    (folder / "model.safetensors").unlink()
    assert scores(opened(folder, tmp_path), seen) == wanted
    (folder / "pytorch_model.bin").rename(folder / "uniter.pt")
    assert scores(opened(folder, tmp_path), seen) == wanted
    (folder / "uniter.pt").unlink()
    names = sorted(uniter_state())
    for n, part in enumerate((names[:9], names[9:])):
        save_file({name: uniter_state()[name] for name in part}, folder / f"{n}.safetensors")
    assert scores(opened(folder, tmp_path), seen) == wanted


def test_capitals_are_kept_or_not_as_the_words_are(tmp_path: Path, seen: Seen) -> None:
    folder = published(tmp_path / "m", uniter_state())

    def said(text: str) -> float:
        path = next(iter(seen))
        item = Item(str(path), "image", uri_of(path))
        return float(opened(folder, tmp_path).score(Query(text), [item])[0])

    assert said("two CAT") == said("two [UNK]") != said("two Cat")
    small = [piece if piece.startswith("[") else piece.lower() for piece in PIECES]
    (folder / "vocab.txt").write_text("\n".join(small))
    assert said("two CAT") == said("two Cat") == said("two cat")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert said("two CAT") != said("two cat")


class Sly:
    def __reduce__(self) -> Any:
        return print, ("run",)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in uniter_state().items() if name not in key}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (without("itm_output"), "no head for matching"),
        (without("img_embeddings"), "no UNITER"),
        (without("layer.1.output"), r"lacks 4 of the weights \(uniter.encoder"),
        (uniter_state(layers=3), "of which its config does not know"),
        (uniter_state() | {"itm_output.weight": torch.ones(2, 7)}, "no model that loads"),
        ({"sly": Sly()}, "more than tensors"),
        ([1, 2], "holds no state_dict"),
        ({}, "holds no state_dict"),
    ],
)
def test_what_is_no_uniter_is_one_clear_error(
    tmp_path: Path, seen: Seen, state: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = published(tmp_path / "m", state)
    with pytest.raises(ModelUnavailable, match=reason) as raised:
        opened(folder, tmp_path)
    assert "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""  # nothing of it was run


def test_files_that_are_missing_or_do_not_fit_are_one_clear_error(
    tmp_path: Path, seen: Seen
) -> None:
    def refused(reason: str) -> None:
        with pytest.raises(ModelUnavailable, match=reason):
            opened(folder, tmp_path)

    folder = published(tmp_path / "m", uniter_state())
    (folder / "vocab.txt").write_text("\n".join([*PIECES, "more"]))
    refused("are 13, the model has 12")
    (folder / "vocab.txt").write_text("a\nb\n")
    refused("no model that loads")
    (folder / "vocab.txt").unlink()
    refused("lacks vocab.txt or tokenizer.json")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **UNITER}))
    refused("holds a 'bert' model, not a 'uniter' one")
    (folder / "config.json").write_text('{"hidden_size": 16}')
    refused("lacks vocab_size, num_hidden_layers, num_attention_heads, intermediate_size")
    (folder / "config.json").unlink()
    (folder / "uniter-tiny.json").rename(folder / "other.json")
    refused("config.json is missing")
    (folder / "other.json").rename(folder / "config.json")
    (folder / "second.pt").write_bytes(b"torn")
    refused(r"second.pt, uniter-tiny.pt: which is it\?")
    (folder / "uniter-tiny.pt").unlink()
    refused("second.pt cannot be read as weights")
    (folder / "second.pt").unlink()
    refused("holds no weights")
    folder = tmp_path / "none"
    refused("write uniter:DIR")
