"""A trained `fusion` re-ranker as two ONNX graphs: of a picture, and of pairs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from mmsearch.encoders.onnx_writer import OPSET
from mmsearch.encoders.weights import hash_files
from mmsearch.files import write_json
from mmsearch.rerankers.fusion import CONFIG, PAIR, PICTURE, ROOT_MAP, WORD_STATES
from mmsearch.train.export_starter import save_narrow
from mmsearch.train.fusion_model import Encoded, Fusion
from mmsearch.train.rerank_tokens import UpperStages
from mmsearch.train.starter_image import ImageTower

FORMAT = 1


class _Picture(nn.Module):
    """The base's map -> a picture encoded alone."""

    def __init__(self, upper: UpperStages, net: Fusion) -> None:
        super().__init__()
        self.upper, self.net = upper, net

    def forward(self, root: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.net.pictures(self.upper(root))
        return found.tokens, found.local, found.pooled


class _Pair(nn.Module):
    """Word states and encoded pictures -> scores, attention."""

    def __init__(self, net: Fusion) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, words: Tensor, keep: Tensor, tokens: Tensor, local: Tensor, pooled: Tensor
    ) -> tuple[Tensor, Tensor]:
        texts = self.net.texts(words, keep)
        whole = torch.ones_like(tokens[:, :, 0], dtype=torch.bool)
        scores, seen = self.net(texts, Encoded(tokens, local, pooled, whole))
        return scores, seen


def write_reranker(
    folder: Path, net: Fusion, tower: ImageTower, image_size: int, facts: Mapping[str, Any]
) -> None:
    """Write the two graphs, weights in float16, and config.json.

    Args:
        folder: empty.
        net: on the CPU.
        tower: that the picture maps are of.
        image_size: of the base, in pixels.
        facts: what else the config says: base, weight, candidates, trained_on, license.

    Raises:
        OSError: the folder cannot be written.
    """
    net = net.cpu().eval()
    with torch.no_grad():
        root = nn.Sequential(tower.stem, *list(tower.blocks)[:5])(
            torch.zeros(2, 3, image_size, image_size)
        )
        made = net.pictures(UpperStages(tower)(root))
    _write(
        folder / PICTURE, _Picture(UpperStages(tower), net), (root,),
        {"root": {0: "n"}}, ("tokens", "local", "pooled"),
    )  # fmt: skip
    words = torch.randn(3, 12, net.word.in_features)
    keep = torch.ones(3, 12, dtype=torch.bool)
    of_text, of_picture = {0: "texts", 1: "length"}, {0: "pictures"}
    _write(
        folder / PAIR, _Pair(net), (words, keep, *made[:3]),
        {"words": of_text, "keep": of_text, "tokens": of_picture, "local": of_picture,
         "pooled": of_picture},
        ("scores", "attention"),
    )  # fmt: skip
    config = {
        "format": FORMAT,
        "name": "fusion",
        "map": ROOT_MAP,
        "words": WORD_STATES,
        "side": int(made.tokens.shape[1] ** 0.5),
        **net.shape.as_dict(),
        **facts,
        "weights_hash": hash_files(sorted(folder.glob("*.onnx*")), root=folder),
    }
    write_json(folder / CONFIG, config)


def _write(
    path: Path,
    module: nn.Module,
    example: tuple[Tensor, ...],
    axes: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of constants that the tracer takes for granted
        torch.onnx.export(
            module.eval(),
            example,
            str(path),
            input_names=list(axes),
            output_names=list(outputs),
            dynamic_axes={name: dict(free) for name, free in axes.items()},
            opset_version=OPSET,
            dynamo=False,
        )
    save_narrow(onnx.load(str(path)), path)
