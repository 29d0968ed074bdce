"""What `mmsearch tune` may choose from: a range or a list for each value of a training run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeAlias

from mmsearch.errors import BadSource
from mmsearch.train.config import TrainConfig

DIGITS = 3  # of a value drawn from a range: what the table shows is what was trained with


@dataclass(frozen=True, slots=True)
class Range:
    """From low to high, both included; log: every factor is as likely as any other."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> Sequence[Any]:
        return (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Return whether it could be drawn."""
        return isinstance(value, int | float) and bool(self.low <= value <= self.high)

    def draw(self, trial: Any, name: str) -> Any:
        """Return the value that an optuna trial has for this name."""
        if self.whole:
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        value = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


@dataclass(frozen=True, slots=True)
class Choices:
    """One of a few values."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> Sequence[Any]:
        return self.values

    def holds(self, value: Any) -> bool:
        """Return whether it could be drawn."""
        return value in self.values

    def draw(self, trial: Any, name: str) -> Any:
        """Return the value that an optuna trial has for this name."""
        return trial.suggest_categorical(name, self.values)

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Axis: TypeAlias = Range | Choices
Space: TypeAlias = Mapping[str, Axis]

DEFAULT: Space = {
    "image_lr": Range(1e-6, 1e-3, log=True),
    "text_lr": Range(1e-6, 1e-3, log=True),
    "head_lr": Range(1e-5, 1e-2, log=True),
    "layer_decay": Range(0.6, 1.0),
    "batch_size": Choices((32, 64, 128)),
    "weight_decay": Range(0.01, 0.5, log=True),
    "dropout": Range(0.0, 0.5),
    "temperature": Range(0.01, 0.2, log=True),
}

KINDS: Mapping[str, type] = {
    "lr": float, "image_lr": float, "text_lr": float, "head_lr": float, "layer_decay": float,
    "weight_decay": float, "warmup": float, "clip_grad": float, "dropout": float,
    "temperature": float, "label_smoothing": float, "margin": float, "mlm_weight": float,
    "ema": float, "batch_size": int, "lora": int, "last_blocks": int, "image_blocks": int,
    "text_blocks": int, "loss": str,
}  # fmt: skip


def parse_axis(text: str) -> tuple[str, Axis | None]:
    """Return the name and what it may be: `name=low:high[:log]`, `name=a,b,c`; None for `off`.

    Raises:
        BadSource: it is none of these, or no value of a training run has that name.
    """
    name, _, told = (part.strip() for part in text.partition("="))
    name = name.replace("-", "_")
    if name not in KINDS:
        guess = get_close_matches(name, KINDS, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else ""
        raise BadSource(f"{name!r} cannot be searched{hint} (can be: {', '.join(KINDS)})")
    if told == "off":
        return name, None
    kind, parts = KINDS[name], told.split(":")
    try:
        if len(parts) == 1:
            return name, Choices(tuple(kind(value.strip()) for value in told.split(",")))
        if kind is str or len(parts) > 3 or parts[2:] not in ([], ["log"]):
            raise ValueError
        low, high = kind(parts[0]), kind(parts[1])
    except ValueError:
        raise BadSource(
            f"--space {text!r} cannot be read: say {name}=low:high, {name}=low:high:log, "
            f"{name}=a,b,c or {name}=off"
        ) from None
    if not low < high or (parts[2:] and low <= 0):
        raise BadSource(f"--space {text!r}: low must be below high, and above 0 for log")
    return name, Range(low, high, log=bool(parts[2:]))


def build_space(
    asked: Iterable[str], *, config: TrainConfig, fixed: Iterable[str], pictures: int
) -> tuple[dict[str, Axis], list[str]]:
    """Return the space to search, and a line for each thing that is left out of it.

    Args:
        asked: `--space`, as the user said it; it adds to the default or replaces parts of it.
        config: the values of what is not searched.
        fixed: fields of it that the user gave: they are not searched.
        pictures: to train on; larger batches than that are not tried.

    Raises:
        BadSource: something asked for cannot be read, is fixed as well, or is out of the range
            of its field, or cannot be searched with cached views; or nothing is left.
        UnknownName: a loss of that name does not exist.
    """
    axes = dict(map(parse_axis, asked))
    fixed = set(fixed)
    for name in sorted(fixed & {n for n, axis in axes.items() if axis is not None}):
        raise BadSource(f"{name} is fixed by its own option and searched by --space; give one")
    usual = {n: axis for n, axis in DEFAULT.items() if n not in fixed | axes.keys()}
    if "lr" in fixed or axes.get("lr") is not None:
        usual = {n: axis for n, axis in usual.items() if n not in ("image_lr", "text_lr")}
    if "batch_size" in usual:
        sizes = [size for size in DEFAULT["batch_size"].ends if size <= pictures]
        usual["batch_size"] = Choices(tuple(sizes or DEFAULT["batch_size"].ends[:1]))
    space = {n: axis for n, axis in {**usual, **axes}.items() if axis is not None}
    for name, axis in space.items():
        for value in axis.ends:
            replace(config, **{name: value})  # raises where a field does not take it
    without = _without_effect(space, config)
    space = {n: axis for n, axis in space.items() if n not in without}
    if config.cache_views and (moved := space.keys() & {"lora", "last_blocks", "image_blocks"}):
        raise BadSource(f"{min(moved)} cannot be searched with cache_views: it moves the cut")
    if not space:
        raise BadSource("nothing is left to search: every value is fixed, off or without effect")
    return space, [f"{name} is not searched: {why}" for name, why in without.items()]


def _without_effect(space: Space, config: TrainConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    towers = {
        tower: config.blocks(tower) == 0 and not space.keys() & {"last_blocks", f"{tower}_blocks"}
        for tower in ("image", "text")
    }
    for tower, frozen in towers.items():
        if frozen:
            found[f"{tower}_lr"] = f"the {tower} tower is frozen"
    if all(towers.values()):
        found["layer_decay"] = "both towers are frozen"
        if config.head_lr is not None or "head_lr" in space:
            found["lr"] = "both towers are frozen, and the heads have a rate of their own"
    if config.loss == "cosine" and "loss" not in space:
        found["temperature"] = "the cosine loss has none"
    return {name: why for name, why in found.items() if name in space}


def as_json(space: Space) -> dict[str, Any]:
    """Return the space as JSON values, alike to what is read back from a file."""
    found: dict[str, Any] = json.loads(json.dumps({n: asdict(axis) for n, axis in space.items()}))
    return found
