"""A dual encoder that can be trained: what a back end loaded, and how it is written back.

`DIR/checkpoint.json` says which kind of folder `DIR/model` is; `mmsearch.encoders.checkpoint`
reads the same file.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.encoders import STARTER, resolve_model
from mmsearch.encoders.checkpoint import CHECKPOINT, FORMAT, open_clip_dual, read_checkpoint
from mmsearch.encoders.torch_backend import TEXTS_AT_ONCE, DualModel
from mmsearch.errors import MissingExtra, ModelUnavailable, UnknownName
from mmsearch.train.frozen_texts import FrozenTexts

TRAINABLE = "starter, open_clip:ARCH/TAG, hf:DIR, hf:ORG/REPO, checkpoint:DIR"


@dataclass(frozen=True, slots=True)
class Language:
    """What masked language modelling needs of a text tower.

    hidden: tokens -> (n, length, width). words: (vocabulary, width), tied to the output.
    """

    hidden: Callable[[dict[str, Tensor]], Tensor]
    words: nn.Parameter
    mask_id: int
    special_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Cut:
    """A picture tower in two. lower: pixels -> maps. upper: maps -> (n, dim)."""

    lower: nn.Module
    upper: Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Trainable:
    """A dual encoder in torch on one device.

    kind: "starter", "hf" or "open_clip". write: puts the weights as they are now, and all that is
    needed to load them, into a folder. language: None where the text tower has no masks. cut: the
    picture tower below and from its last so many blocks on; None where it cannot be cut.
    frozen_texts: makes an encoder of texts that asks a frozen tower once a text; None likewise.
    """

    kind: str
    spec: str
    dual: DualModel
    write: Callable[[Path], None]
    language: Language | None = None
    cut: Callable[[int], Cut] | None = None
    frozen_texts: Callable[[], FrozenTexts] | None = None

    @property
    def module(self) -> nn.Module:
        return self.dual.module

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return (n, dim) float32 unit rows for (n, 3, S, S) on the model's device.

        For maps, where the picture tower is cut: see `above`.
        """
        rows: Tensor = F.normalize(self.dual.images(pixels).float(), dim=-1)
        return rows

    def above(self, cut: Cut) -> Trainable:
        """Return the same model, taking the maps of the cut in place of pixels."""
        return replace(self, dual=replace(self.dual, images=cut.upper))

    def with_texts(self, texts: FrozenTexts) -> Trainable:
        """Return the same model, with its texts encoded by these."""
        return replace(self, dual=replace(self.dual, texts=texts))

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Return (n, dim) float32 unit rows.

        Worked out in parts of like length: one long text would have all others padded to it.
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        parts = [order[i : i + TEXTS_AT_ONCE] for i in range(0, len(order), TEXTS_AT_ONCE)]
        made = [self.dual.texts(self.tokens([texts[i] for i in part])) for part in parts]
        place = torch.argsort(torch.tensor(order)).to(made[0].device)
        rows: Tensor = F.normalize(torch.cat(made)[place].float(), dim=-1)
        return rows

    def tokens(self, texts: list[str]) -> dict[str, Tensor]:
        """Return the token ids and masks of texts, on the model's device."""
        device = next(self.module.parameters()).device
        return {name: ids.to(device) for name, ids in self.dual.tokenize(texts).items()}

    def scale(self, loss: str) -> tuple[float, float]:
        """Return 1 / temperature and bias to start from: the base's own, where it has them.

        A base that was trained with another loss keeps its scale; its bias is that of SigLIP.
        """
        logit = getattr(self.module, "logit_scale", None)
        bias = getattr(self.module, "logit_bias", None)
        scale = (
            (10.0 if loss == "siglip" else 1 / 0.07) if logit is None else math.exp(logit.item())
        )
        return min(scale, 100.0), -10.0 if bias is None else bias.item()

    def set_scale(self, scale: float, bias: float) -> None:
        """Write the learnt scale and bias into the module, if it has places for them."""
        with torch.no_grad():
            for name, value in (("logit_scale", math.log(scale)), ("logit_bias", bias)):
                if isinstance(place := getattr(self.module, name, None), Tensor):
                    place.fill_(value)


def open_trainable(spec: str) -> Trainable:
    """Return the base that a spec names, float32, on the CPU, nothing frozen.

    Raises:
        ModelUnavailable: it cannot be trained, or its files are missing or damaged.
        MissingExtra: a library of the `train` extra is not installed.
        UnknownName: open_clip has no such architecture or tag.
    """
    name, _, argument = resolve_model(spec).partition(":")
    openers: dict[str, Callable[[str], Trainable]] = {
        "starter": lambda _: _starter(STARTER),
        "hf": lambda place: _hf(_hf_folder(place)),
        "open_clip": _open_clip,
        "checkpoint": _checkpoint,
    }
    if name not in openers:
        raise ModelUnavailable(
            f"model {spec} cannot be trained: it has no torch weights; choose one of {TRAINABLE}"
        )
    try:
        opened = openers[name](argument)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"training {spec} ({error.name})", "train") from error
    opened.module.float().requires_grad_(True)
    return replace(opened, spec=spec)


def describe(folder: Path, kind: str, **facts: Any) -> None:
    """Write the folder's checkpoint.json: what lies in its `model`."""
    _write_json(folder / CHECKPOINT, {"format": FORMAT, "kind": kind, **facts})


def _checkpoint(argument: str) -> Trainable:
    folder = Path(argument).expanduser()
    facts = read_checkpoint(folder)
    match facts["kind"]:
        case "starter":
            return _starter(folder / "model")
        case "hf":
            return _hf(folder / "model")
        case "open_clip":
            return _open_clip_folder(folder / "model")
    raise ModelUnavailable(f"{folder} holds a {facts['kind']!r}, which this version cannot train")


def _starter(folder: Path) -> Trainable:
    from mmsearch.train.starter_model import load_starter

    dual, _ = load_starter(folder)
    module: Any = dual.module

    def write(out: Path) -> None:
        from mmsearch.train.export_towers import write_starter

        write_starter(module, folder, out)

    language = Language(
        module.hidden,
        module.text.embeddings.word_embeddings.weight,
        mask_id=103,  # [MASK] of BERT's vocabulary, which MiniLM has
        special_ids=frozenset({0, 101, 102}),
    )

    def cut(blocks: int) -> Cut:
        return Cut(module.lower(blocks), lambda maps: module.upper(maps, blocks))

    def frozen_texts() -> FrozenTexts:
        return FrozenTexts(module.text, module.words, module.text_head)

    return Trainable("starter", "starter", dual, write, language, cut, frozen_texts)


def _hf_folder(argument: str) -> Path:
    from mmsearch.encoders.hf import _find

    return _find(argument)


def _hf(folder: Path) -> Trainable:
    from mmsearch.encoders.checkpoint import hf_dual

    dual = hf_dual(folder)
    module: Any = dual.module

    def write(out: Path) -> None:
        module.save_pretrained(out)
        for path in folder.iterdir():
            beside = path.suffix in {".json", ".txt", ".model"}
            if beside and path.name != "config.json" and ".index." not in path.name:
                shutil.copyfile(path, out / path.name)

    return Trainable("hf", f"hf:{folder}", dual, write, _hf_language(folder, module))


def _hf_language(folder: Path, module: Any) -> Language | None:
    from transformers import AutoTokenizer

    text: Any = getattr(module, "text_model", None)
    kind = getattr(getattr(text, "config", None), "model_type", "")
    if kind not in {
        "bert",
        "roberta",
        "xlm-roberta",
        "distilbert",
        "electra",
        "chinese_clip_text_model",
    }:
        return None
    tokenizer = AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if tokenizer.mask_token_id is None:
        return None

    def hidden(tokens: dict[str, Tensor]) -> Tensor:
        out: Tensor = text(**tokens).last_hidden_state
        return out

    return Language(
        hidden,
        text.get_input_embeddings().weight,
        int(tokenizer.mask_token_id),
        frozenset(tokenizer.all_special_ids),
    )


def _open_clip(argument: str) -> Trainable:
    import open_clip

    from mmsearch.encoders.openclip import _check_tag, _create, _dual

    arch, _, tag = argument.partition("/")
    if arch not in open_clip.list_models():
        raise UnknownName("open_clip architecture", arch, open_clip.list_models())
    file = Path(tag).expanduser()
    if tag and file.is_file():
        return _open_clip_trainable(arch, _dual(arch, _create(arch, str(file)), file))
    _check_tag(arch, tag)
    return _open_clip_trainable(arch, _dual(arch, _create(arch, tag), None))


def _open_clip_folder(folder: Path) -> Trainable:
    arch, dual = open_clip_dual(folder)
    return _open_clip_trainable(arch, dual)


def _open_clip_trainable(arch: str, dual: DualModel) -> Trainable:
    module: Any = dual.module

    def write(out: Path) -> None:
        import open_clip
        from safetensors.torch import save_file

        preprocess = open_clip.get_model_preprocess_cfg(module)
        _write_json(out / "open_clip_config.json", {"arch": arch, "preprocess_cfg": preprocess})
        _write_json(out / f"{arch}.json", open_clip.get_model_config(arch))
        state = {n: t.detach().cpu().clone().contiguous() for n, t in module.state_dict().items()}
        save_file(state, out / "open_clip_model.safetensors")

    return Trainable("open_clip", f"open_clip:{arch}", dual, write)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
