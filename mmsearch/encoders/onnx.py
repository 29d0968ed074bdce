"""Encoders from a folder of ONNX files, run by ONNX Runtime: `onnx:` and `starter`.

Each tower is loaded when it is first used: a text query loads neither the image tower nor PIL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from index_store.types import Space, Vectors
from mmsearch.cores import usable_cores
from mmsearch.encoders import STARTER, hub
from mmsearch.encoders.ahead import Ahead
from mmsearch.encoders.bundle import Bundle, read_bundle, read_json, weights_hash
from mmsearch.encoders.rows import unit_rows
from mmsearch.encoders.sessions import OrtTower
from mmsearch.encoders.tokens import Tokens
from mmsearch.errors import ModelUnavailable
from mmsearch.types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.encoders import Towers

TEXTS_AT_ONCE = 32  # rows of one run: more only costs memory, and pads short texts to long ones


class _Textual:
    """A text tower and its tokenizer, and how the two fit together.

    Raises:
        ModelUnavailable: the graph's inputs are not a text tower's, or the tokenizer is broken.
    """

    def __init__(self, tower: OrtTower, bundle: Bundle, tokens: Tokens) -> None:
        others = [n for n in tower.inputs if n not in ("attention_mask", "token_type_ids")]
        if len(others) != 1 or len(tower.inputs[others[0]].shape) != 2:
            raise ModelUnavailable(
                f"{tower.path} takes {sorted(tower.inputs)}; a text tower takes token ids (texts, "
                "tokens), and at most attention_mask and token_type_ids beside them"
            )
        self._tower = tower
        self._ids = others[0]  # "input_ids", or Immich's "text"
        fixed = tower.inputs[self._ids].shape[1]
        self.whole = isinstance(fixed, int) or _pads_whole(tower, bundle)
        if isinstance(fixed, int):
            tokens.set_length(fixed)
        self._tokens = tokens

    def __call__(self, texts: Sequence[str]) -> Array:
        """Return (n, dim) raw rows."""
        ids, mask = self._tokens(texts, whole=self.whole)
        given: dict[str, Array] = {self._ids: ids}
        if "attention_mask" in self._tower.inputs:
            given["attention_mask"] = mask
        if "token_type_ids" in self._tower.inputs:
            given["token_type_ids"] = np.zeros_like(ids)
        return self._tower.run(given)


class OnnxEncoder:
    """The two towers of a bundle. Thread-safe.

    Args:
        bundle: what the folder holds.
        threads: for each tower; None: the cores that this process may use.
        device: "cpu", "cuda", "cuda:N"; None: CUDA where this ONNX Runtime has it.
        towers: "text" and "image" begin to load that tower at once, beside what the caller does
            next; "text" loads it for few calls rather than for many.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        device: str | None = None,
        towers: Towers = "both",
    ) -> None:
        self.bundle = bundle
        self.image_size = bundle.image_size
        self.space = Space(name=f"{bundle.name}/{weights_hash(bundle)}", dim=bundle.dim)
        self._label = f"{bundle.name} in {bundle.folder}"
        self._threads = threads
        self._device = device
        self._brief = towers == "text"
        self._lock = Lock()
        self._preprocess: Callable[[Image], Array] | None = None
        self._visual: OrtTower | None = None
        self._textual: _Textual | None = None
        self._ahead = Ahead(self._open_textual) if self._brief else None
        self._pictures_ahead = Ahead(self._open_visual) if towers == "image" else None

    def prepare(self, image: Image) -> Array:
        """Return (3, size, size) float32, by the bundle's preprocess_cfg.json. Thread-safe.

        Raises:
            ModelUnavailable: preprocess_cfg.json says what we cannot do.
        """
        if self._preprocess is None:
            self._preprocess = self._read_preprocess()
        return self._preprocess(image)

    def encode_images(self, batch: Array) -> Vectors:
        """Return (n, dim) float32 unit rows for (n, 3, size, size) prepared pictures.

        Raises:
            ModelUnavailable: the image tower is broken, or not of this config.
        """
        tower = self._visual or self._load_visual()
        if not len(batch):
            return self._no_rows()
        (pixels,) = tower.inputs
        raw = tower.run({pixels: np.asarray(batch)})
        return unit_rows(raw, dim=self.space.dim, model=self._label)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 unit rows for n texts; overlong texts are cut.

        Raises:
            ModelUnavailable: the text tower or the tokenizer is broken, or not of this config.
        """
        textual = self._textual or self._load_textual(texts)
        rows = [self._no_rows()]
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            raw = textual(texts[start : start + TEXTS_AT_ONCE])
            rows.append(unit_rows(raw, dim=self.space.dim, model=self._label))
        return np.concatenate(rows)

    def any_length(self) -> bool:
        """Return whether the text tower takes texts of any length, and so short ones for less.

        Raises:
            ModelUnavailable: the text tower or the tokenizer is broken.
        """
        return not (self._textual or self._load_textual([])).whole

    def _no_rows(self) -> Vectors:
        return np.empty((0, self.space.dim), dtype=np.float32)

    def _read_preprocess(self) -> Callable[[Image], Array]:
        from mmsearch.preprocess import Preprocess

        path = self.bundle.folder / "visual" / "preprocess_cfg.json"
        config = {"size": self.bundle.image_size, **read_json(path)}
        try:
            return Preprocess.from_open_clip(config)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelUnavailable(f"{path} describes no preprocessing: {error}") from error

    def _load_visual(self) -> OrtTower:
        with self._lock:
            if self._visual is None:
                ahead, self._pictures_ahead = self._pictures_ahead, None
                tower = ahead.result() if ahead else self._open_visual()
                if len(tower.inputs) != 1:
                    raise ModelUnavailable(
                        f"{tower.path} takes {sorted(tower.inputs)}; an image tower takes one input"
                    )
                self._visual = tower
            return self._visual

    def _load_textual(self, texts: Sequence[str]) -> _Textual:
        """Return the text tower, with a tokenizer that is loaded for these texts first."""
        with self._lock:
            if self._textual is None:
                # Side by side: the tower's load keeps the interpreter free.
                ahead, self._ahead = self._ahead or Ahead(self._open_textual), None
                first = texts if self._brief else None
                tokens = Tokens(self.bundle, self.bundle.context_length, first)
                self._textual = _Textual(ahead.result(), self.bundle, tokens)
            return self._textual

    def _open_visual(self) -> OrtTower:
        return self._open(self.bundle.visual, brief=False)

    def _open_textual(self) -> OrtTower:
        return self._open(self.bundle.textual, brief=self._brief)

    def _open(self, path: Path, *, brief: bool) -> OrtTower:
        return OrtTower(
            path,
            dim=self.bundle.dim,
            threads=self._threads or usable_cores(),
            device=self._device,
            optimized=path.parent.name in self.bundle.optimized,
            brief=brief,
        )


def open_onnx(
    argument: str, *, threads: int | None, device: str | None, towers: Towers
) -> OnnxEncoder:
    """Return the encoder of a folder, or of a hub repository that holds such a folder.

    Raises:
        ModelUnavailable: no such folder or repository, or its files are not a model's.
    """
    folder = find_bundle(argument)
    return OnnxEncoder(read_bundle(folder), threads=threads, device=device, towers=towers)


def open_starter(
    argument: str = "", *, threads: int | None, device: str | None, towers: Towers
) -> OnnxEncoder:
    """Return the encoder that mmsearch ships; there is nothing to choose.

    Raises:
        ModelUnavailable: this installation lacks the model's files.
    """
    del argument
    if not STARTER.is_dir():
        raise ModelUnavailable(
            f"the starter model is not in this installation ({STARTER}); install mmsearch from "
            "its wheel, or name another model with --model"
        )
    return OnnxEncoder(read_bundle(STARTER), threads=threads, device=device, towers=towers)


def find_bundle(argument: str) -> Path:
    """Return the local folder of DIR or ORG/REPO, fetched if it must be. A folder here wins.

    Raises:
        ModelUnavailable: neither is to be had.
    """
    folder = Path(argument).expanduser()
    if argument and folder.is_dir():
        return folder
    if not hub.is_repo(argument):
        raise ModelUnavailable(
            f"model folder {argument or '(none given)'} does not exist; write onnx:DIR or "
            "onnx:ORG/REPO"
        )
    return hub.snapshot(
        argument,
        complete=lambda found: not hub.missing_files(found),
        patterns=hub.BUNDLE_PATTERNS,
        ignored=hub.BUNDLE_IGNORED,
    )


def _pads_whole(tower: OrtTower, bundle: Bundle) -> bool:
    # Without a mask the model sees the padding as text: it must get what it was trained with.
    if bundle.pad_whole is not None:
        return bundle.pad_whole
    return "attention_mask" not in tower.inputs
