"""Every choice of the training of a re-ranker: one frozen value, checked once, in the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from mmsearch.errors import BadSource, UnknownName

FusionName = Literal["cross", "joint", "concat"]
Flip = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class RerankConfig:
    """What `mmsearch train --stage rerank` may be told; docs/reranking.md has a table.

    batch_size: pictures a step, in groups of `group_size` that are told apart. hard_negatives: a
    picture's group is drawn from the `hard_from` pictures that the base takes for its caption
    (0: groups are random). itc_weight, mlm_weight: of the terms beside the matching loss.
    mlm_texts: captions a step that have words masked. cache_views: random views of each picture
    beside the plain one. candidates: that are re-ranked when it is measured. k: judged by R@k.

    Raises:
        BadSource: a value is out of its range; the message names it.
        UnknownName: no such fusion or flip.
    """

    fusion: FusionName = "cross"
    width: int = 192
    layers: int = 1
    epochs: int = 8
    batch_size: int = 64
    group_size: int = 8
    align_epochs: int = 48
    hard_negatives: int = 1
    hard_from: int = 60
    itc_weight: float = 1.0
    mlm_weight: float = 0.1
    mlm_texts: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.1
    clip_grad: float = 1.0
    dropout: float = 0.1
    ema: float = 0.99
    cache_views: int = 2
    crop_scale: float = 0.5
    flip: Flip = "auto"
    jitter: float = 0.1
    candidates: int = 50
    k: int = 1
    patience: int = 0
    eval_every: int = 1
    heldout: float = 0.1
    workers: int = 2
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in (("fusion", FusionName), ("flip", Flip)):
            if getattr(self, name) not in get_args(kind):
                raise UnknownName(name, getattr(self, name), get_args(kind))
        least = {
            1: ("width", "layers", "epochs", "hard_from", "mlm_texts", "k", "eval_every",
                "workers", "align_epochs"),
            2: ("group_size", "candidates", "batch_size"),
            0: ("hard_negatives", "itc_weight", "mlm_weight", "weight_decay", "clip_grad",
                "cache_views", "patience", "save_every"),
        }  # fmt: skip
        for low, names in least.items():
            for name in names:
                if getattr(self, name) < low:
                    raise BadSource(f"{name} is {getattr(self, name)}, it must be at least {low}")
        if self.lr <= 0:
            raise BadSource(f"lr is {self.lr}, it must be above 0")
        for name in ("warmup", "ema", "heldout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise BadSource(f"{name} is {getattr(self, name)}, it must be from 0 to below 1")
        if self.batch_size % self.group_size:
            raise BadSource(
                f"batch_size {self.batch_size} is not a multiple of group_size {self.group_size}"
            )
        if self.fusion == "concat" and self.mlm_weight:
            raise BadSource(
                "concat fuses whole texts, not words: masked words (mlm_weight) need cross or joint"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Return the names of the fields in which another run's `as_dict` differs."""
        return [f.name for f in fields(self) if other.get(f.name) != getattr(self, f.name)]
