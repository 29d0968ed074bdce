"""`fusion`: our own light cross-encoder on the tokens of the starter, in ONNX Runtime.

A folder holds config.json and two graphs: one encodes a picture alone, one scores pairs. Both
read what the encoder's towers compute on the way to their vectors; see docs/reranking.md.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from index_store.types import Vectors
from mmsearch.cores import usable_cores
from mmsearch.errors import BadPicture, ModelUnavailable
from mmsearch.types import Array, Item, Query

# The starter's tensors that a re-ranker reads, as the exporter names them.
ROOT_MAP = "/image/blocks.4/blocks.4.3/Add_output_0"
WORD_STATES = "/text/encoder/layer.5/output/LayerNorm/LayerNormalization_output_0"
CONFIG, PICTURE, PAIR = "config.json", "picture.onnx", "pair.onnx"
SHIPPED = Path(__file__).parent / "fusion_starter"
AT_ONCE = 16
KEPT = 2_000  # encoded pictures in memory: 2,000 of 250 kB

_Encoded = tuple[Array, Array, Array]


class Tokens(Protocol):
    """What a fusion re-ranker asks of an encoder: `mmsearch.encoders.tapped.InnerEncoder`."""

    def picture(self, place: str) -> Array:
        """Return a picture file, prepared."""
        ...

    def prepare(self, image: Any) -> Array:
        """Return a decoded picture, prepared."""
        ...

    def maps(self, batch: Array) -> list[Array]:
        """Return the picture tower's tensors for prepared pictures."""
        ...

    def words(self, texts: Sequence[str]) -> tuple[Array, Array, Array]:
        """Return states, ids and mask."""
        ...


TokensOf = Callable[[Sequence[str], str], tuple[Tokens, str]]


class FusionReranker:
    """A folder's two graphs, reading the tokens of one encoder. Not for two threads at once.

    Args:
        folder: of the re-ranker.
        tokens: of the encoder that it was trained on.
        base: the name of that encoder's space.
        threads: for each graph; None: the cores that this process may use.

    Raises:
        ModelUnavailable: a file is missing or broken, or it was trained on another encoder.
    """

    def __init__(self, folder: Path, tokens: Tokens, base: str, *, threads: int | None) -> None:
        self.config = read_config(folder)
        if self.config["base"] != base:
            raise ModelUnavailable(
                f"the re-ranker in {folder} reads the tokens of {self.config['base']}, but this "
                f"search is by {base}; train one: mmsearch train PAIRS --stage rerank"
            )
        self.name = f"fusion/{self.config['weights_hash']}"
        self.weight: float | None = float(self.config["weight"])
        self.side = int(self.config["side"])
        self._tokens = tokens
        self._picture = _session(folder / PICTURE, threads)
        self._pair = _session(folder / PAIR, threads)
        self._kept: OrderedDict[tuple[str, str], _Encoded | None] = OrderedDict()

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        """Return (n,) float32, NaN where a picture does not open or both are of one kind."""
        scores = np.full(len(items), np.nan, np.float32)
        of = "image" if query.text is not None else "text"
        rows = [i for i, item in enumerate(items) if item.kind == of]
        if query.text is not None:
            known = self._encoded([items[i] for i in rows])
            found = [(i, one) for i, one in zip(rows, known, strict=True) if one is not None]
            if found:
                pictures = tuple(
                    np.stack(part) for part in zip(*(e for _, e in found), strict=True)
                )
                scores[[i for i, _ in found]] = self._scores([query.text], pictures)[0]
        elif rows:
            pictures = tuple(part[None] for part in self._encode([self._prepared(query.image)])[0])
            scores[rows] = self._scores([items[i].text for i in rows], pictures)[:, 0]
        return scores

    def attention(self, text: str, image: Any) -> tuple[list[int], Array, float]:
        """Return the text's token ids, how much each looks at each place, (length, side, side),
        and the score.

        Raises:
            BadPicture: the picture cannot be read.
        """
        (encoded,) = self._encode([self._prepared(image)])
        states, ids, mask = self._tokens.words([text])
        scores, seen = self._run(states, mask, tuple(part[None] for part in encoded))
        shape = (len(ids[0]), self.side, self.side)
        return ids[0].tolist(), seen[0, 0].reshape(shape), float(scores[0, 0])

    def _encoded(self, items: Sequence[Item]) -> list[_Encoded | None]:
        """Return each picture encoded alone, or None if its file does not open."""
        keys = [(item.uri, item.stamp) for item in items]
        new = [(k, item) for k, item in zip(keys, items, strict=True) if k not in self._kept]
        for start in range(0, len(new), AT_ONCE):
            part = [(k, self._opened(item)) for k, item in new[start : start + AT_ONCE]]
            whole = [(k, pixels) for k, pixels in part if pixels is not None]
            made = self._encode([pixels for _, pixels in whole]) if whole else []
            self._kept.update({k: None for k, pixels in part if pixels is None})
            self._kept.update({k: one for (k, _), one in zip(whole, made, strict=True)})
        found = [self._kept[k] for k in keys]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _opened(self, item: Item) -> Array | None:
        try:
            return self._tokens.picture(item.uri)
        except (BadPicture, OSError):
            return None

    def _prepared(self, image: Any) -> Array:
        if isinstance(image, str | os.PathLike):
            return self._tokens.picture(os.fspath(image))
        return self._tokens.prepare(image)

    def _encode(self, pixels: Sequence[Array]) -> list[_Encoded]:
        (root,) = self._tokens.maps(np.stack(pixels))
        parts = self._picture.run(["tokens", "local", "pooled"], {"root": root})
        return [(parts[0][i], parts[1][i], parts[2][i]) for i in range(len(pixels))]

    def _scores(self, texts: Sequence[str], pictures: tuple[Array, ...]) -> Array:
        """Return (texts, pictures)."""
        states, _, mask = self._tokens.words(texts)
        return self._run(states, mask, pictures)[0]

    def _run(self, states: Array, mask: Array, pictures: tuple[Array, ...]) -> tuple[Array, Array]:
        tokens, local, pooled = pictures
        given = {"words": states, "keep": mask > 0, "tokens": tokens, "local": local,
                 "pooled": pooled}  # fmt: skip
        taken = {node.name for node in self._pair.get_inputs()}  # concat takes no tokens
        scores, seen = self._pair.run(
            ["scores", "attention"], {n: v for n, v in given.items() if n in taken}
        )
        return scores, seen


def read_config(folder: Path) -> dict[str, Any]:
    """Return a re-ranker's config.json.

    Raises:
        ModelUnavailable: there is none, or it is none of ours.
    """
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        wanted = {"base", "weight", "side", "weights_hash", "map", "words", "fusion"}
        if missing := wanted - config.keys():
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelUnavailable(f"{folder} holds no fusion re-ranker: {path}: {error}") from error
    return config


def _session(path: Path, threads: int | None) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings speak to those who export models
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelUnavailable(f"{path} is not a working ONNX model: {error}") from error


def open_fusion(
    argument: str, *, tokens: TokensOf, threads: int | None, device: str | None, regions: Any
) -> FusionReranker:
    """Return the re-ranker of a folder: what `mmsearch train --stage rerank` wrote.

    Args:
        argument: the folder; "": the one that ships.
        tokens: gives the encoder's inner tensors of these names, and the name of its space.
        threads: for each graph.
        device: it runs on the CPU.
        regions: it looks at pixels.

    Raises:
        ModelUnavailable: no re-ranker is there, or not of this encoder.
    """
    del device, regions
    folder = Path(argument).expanduser() if argument else SHIPPED
    if not (folder / CONFIG).exists() and (folder / "model" / CONFIG).exists():
        folder /= "model"
    config = read_config(folder)
    source, base = tokens([config["map"]], config["words"])
    return FusionReranker(folder, source, base, threads=threads)
