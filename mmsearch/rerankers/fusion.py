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
from mmsearch.rerankers.places import place_of_item, place_of_query
from mmsearch.rerankers.recall import Recall
from mmsearch.rerankers.token_cache import TokenCache, Tokens
from mmsearch.types import Array, Item, Query
from mmsearch.version import __version__

# The starter's tensors that a re-ranker reads, as the exporter names them.
ROOT_MAP = "/image/blocks.4/blocks.4.3/Add_output_0"
WORD_STATES = "/text/encoder/layer.5/output/LayerNorm/LayerNormalization_output_0"
CONFIG, PICTURE, PAIR = "config.json", "picture.onnx", "pair.onnx"
SHIPPED = Path(__file__).parent / "fusion_starter"
KEPT = 2_000  # encoded pictures in memory: 2,000 of 190 kB
SIDES = ("tokens", "local", "pooled")  # what the first graph gives of a picture


class InnerTensors(Protocol):
    """What a fusion re-ranker asks of an encoder: `mmsearch.encoders.tapped.InnerEncoder`."""

    def picture(self, place: str | bytes) -> Array:
        """Return a picture file, or one of these bytes, prepared."""
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


TokensOf = Callable[[Sequence[str], str], tuple[InnerTensors, str]]


class FusionReranker:
    """A folder's two graphs, reading the tokens of one encoder. Not for two threads at once.

    Args:
        folder: of the re-ranker.
        tokens: of the encoder that it was trained on.
        base: the name of that encoder's space.
        threads: for each graph; None: the cores that this process may use.
        cache: where pictures' tokens are kept between processes; None: nowhere.

    Raises:
        ModelUnavailable: a file is missing or broken, or it was trained on another encoder.
    """

    def __init__(
        self, folder: Path, tokens: InnerTensors, base: str, *, threads: int | None,
        cache: TokenCache | None = None,
    ) -> None:  # fmt: skip
        import onnxruntime
        import PIL

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
        self._kept: OrderedDict[tuple[str, str] | None, Tokens | None] = OrderedDict()
        made_by = [
            self.name, base,
            f"mmsearch {__version__}, onnxruntime {onnxruntime.__version__}",
            f"Pillow {PIL.__version__}",
        ]  # fmt: skip
        self._recall = Recall(cache, made_by, threads)

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        """Return (n,) float32, NaN where a picture does not open or both are of one kind."""
        scores = np.full(len(items), np.nan, np.float32)
        of = "image" if query.text is not None else "text"
        rows = [i for i, item in enumerate(items) if item.kind == of]
        if query.text is not None:
            known = self._encoded([items[i] for i in rows])
            found = [(i, one) for i, one in zip(rows, known, strict=True) if one is not None]
            if found:
                pictures = {side: np.stack([e[side] for _, e in found]) for side in SIDES}
                scores[[i for i, _ in found]] = self._scores([query.text], pictures)[0]
        elif rows:
            (encoded,) = self._recall([place_of_query(query)], self._sides)
            if encoded is not None:
                pictures = {side: encoded[side][None] for side in SIDES}
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
        scores, seen = self._run(states, mask, {s: encoded[s][None] for s in SIDES})
        shape = (len(ids[0]), self.side, self.side)
        return ids[0].tolist(), seen[0, 0].reshape(shape), float(scores[0, 0])

    def _encoded(self, items: Sequence[Item]) -> list[Tokens | None]:
        """Return each picture encoded alone, or None if its file does not open."""
        places = [place_of_item(item) for item in items]
        new = {p.key: p for p in places if p.key not in self._kept}
        made = self._recall([*new.values()], self._sides) if new else []
        self._kept.update(zip(new, made, strict=True))
        found = [self._kept[p.key] for p in places]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _sides(self, sources: Sequence[Any]) -> list[Tokens | None]:
        """Return pictures encoded together; None where one does not open."""
        pixels = [self._opened(source) for source in sources]
        whole = [one for one in pixels if one is not None]
        made = iter(self._encode(whole) if whole else ())
        return [None if one is None else next(made) for one in pixels]

    def _opened(self, source: Any) -> Array | None:
        try:
            return self._prepared(source)
        except (BadPicture, OSError, ValueError):
            return None

    def _prepared(self, source: Any) -> Array:
        if isinstance(source, os.PathLike):
            source = os.fspath(source)
        if isinstance(source, str | bytes):
            return self._tokens.picture(source)
        return self._tokens.prepare(source)

    def _encode(self, pixels: Sequence[Array]) -> list[Tokens]:
        (root,) = self._tokens.maps(np.stack(pixels))
        parts = self._picture.run([*SIDES], {"root": root})
        return [dict(zip(SIDES, rows, strict=True)) for rows in zip(*parts, strict=True)]

    def _scores(self, texts: Sequence[str], pictures: Tokens) -> Array:
        """Return (texts, pictures)."""
        states, _, mask = self._tokens.words(texts)
        return self._run(states, mask, pictures)[0]

    def _run(self, states: Array, mask: Array, pictures: Tokens) -> tuple[Array, Array]:
        given = {"words": states, "keep": mask > 0, **pictures}
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
    argument: str, *, tokens: TokensOf, threads: int | None, device: str | None, regions: Any,
    cache: TokenCache | None,
) -> FusionReranker:  # fmt: skip
    """Return the re-ranker of a folder: what `mmsearch train --stage rerank` wrote.

    Args:
        argument: the folder; "": the one that ships.
        tokens: gives the encoder's inner tensors of these names, and the name of its space.
        threads: for each graph.
        device: it runs on the CPU.
        regions: it looks at pixels.
        cache: where pictures' tokens are kept between processes.

    Raises:
        ModelUnavailable: no re-ranker is there, or not of this encoder.
    """
    del device, regions
    folder = Path(argument).expanduser() if argument else SHIPPED
    if not (folder / CONFIG).exists() and (folder / "model" / CONFIG).exists():
        folder /= "model"
    config = read_config(folder)
    source, base = tokens([config["map"]], config["words"])
    return FusionReranker(folder, source, base, threads=threads, cache=cache)
