"""Every choice of a training run: one frozen value, checked once, written into the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from mmsearch.errors import BadSource, UnknownName

LossName = Literal["clip", "siglip", "cosine"]
Freeze = Literal["none", "image", "text", "both"]
Flip = Literal["auto", "on", "off"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What `mmsearch train` may be told; docs/training.md has a table by purpose.

    Rates are per step of AdamW. `image_lr`, `text_lr` and `head_lr` default to `lr`, `lr` and
    10 * `lr`. `last_blocks` counts from the end of a tower; None trains all of it.
    `chunk` is how many pairs are in memory at once (0: the whole batch). `captions` of each
    picture are drawn a step. With `one_source` a batch holds pictures of one source, where there
    are several: those of another are no hard negatives. `cache_views` random views of each picture
    go through the frozen part of the picture tower once and for all (0: none, every epoch sees
    new views).
    Tolerances are in points of R@k.

    Raises:
        BadSource: a value is out of its range; the message names it.
        UnknownName: no such loss, freeze, flip or precision.
    """

    epochs: int = 10
    batch_size: int = 64
    chunk: int = 0
    captions: int = 1
    loss: LossName = "clip"
    mlm_weight: float = 0.0
    label_smoothing: float = 0.0
    margin: float = 0.2
    lr: float = 1e-5
    image_lr: float | None = None
    text_lr: float | None = None
    head_lr: float | None = None
    layer_decay: float = 1.0
    weight_decay: float = 0.1
    warmup: float = 0.1
    clip_grad: float = 1.0
    freeze: Freeze = "none"
    last_blocks: int | None = None
    image_blocks: int | None = None
    text_blocks: int | None = None
    lora: int = 0
    temperature: float | None = None
    dropout: float | None = None
    ema: float = 0.0
    augment: bool = True
    crop_scale: float = 0.6
    flip: Flip = "auto"
    jitter: float = 0.1
    cache_views: int = 0
    hard_negatives: int = 0
    one_source: bool = False
    patience: int = 3
    eval_every: int = 1
    k: int = 10
    general_tolerance: float = 1.0
    general_stop: float = 20.0
    general_limit: int = 0
    heldout: float = 0.1
    wiseft_steps: int = 10
    precision: Precision = "auto"
    workers: int = 2
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        _known("loss", self.loss, get_args(LossName))
        _known("freeze", self.freeze, get_args(Freeze))
        _known("flip", self.flip, get_args(Flip))
        _known("precision", self.precision, get_args(Precision))
        for name in (
            "epochs",
            "batch_size",
            "eval_every",
            "k",
            "wiseft_steps",
            "workers",
            "captions",
        ):
            _at_least(name, getattr(self, name), 1)
        for name in ("chunk", "lora", "hard_negatives", "patience", "save_every", "general_limit",
                     "cache_views"):  # fmt: skip
            _at_least(name, getattr(self, name), 0)
        for name in ("mlm_weight", "weight_decay", "clip_grad", "general_tolerance", "margin"):
            _at_least(name, getattr(self, name), 0)
        for name in ("lr", "image_lr", "text_lr", "head_lr", "temperature", "layer_decay"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadSource(f"{name} is {value}, it must be above 0")
        for name in ("label_smoothing", "warmup", "ema", "heldout", "dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise BadSource(f"{name} is {value}, it must be from 0 to below 1")
        if self.batch_size < 2:
            raise BadSource("batch_size is 1: a contrastive loss compares pairs, it needs 2")

    def rate(self, part: str) -> float:
        """Return the learning rate of "image", "text", "head" or "scale"."""
        match part:
            case "image":
                return self.image_lr or self.lr
            case "text":
                return self.text_lr or self.lr
        return self.head_lr or 10 * self.lr

    def blocks(self, tower: str) -> int | None:
        """Return how many of the last blocks of a tower are trained; None is all."""
        own = self.image_blocks if tower == "image" else self.text_blocks
        if self.freeze in (tower, "both"):
            return 0
        return self.last_blocks if own is None else own

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Return the names of the fields in which another run's `as_dict` differs."""
        return [f.name for f in fields(self) if other.get(f.name) != getattr(self, f.name)]


def _known(sort: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise UnknownName(sort, value, names)


def _at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise BadSource(f"{name} is {value}, it must be at least {least}")
