"""The values that a store takes and gives. Frozen: a value that was handed out never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["image", "text"]
KINDS: tuple[Kind, ...] = ("image", "text")
Vectors = npt.NDArray[np.float32]  # (n, dim), unit rows
MetaValue = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Space:
    """The space that vectors live in. Equal spaces: their vectors can be compared.

    `name` holds the encoder and the hash of its weights; `metric` is always "cosine"
    today: rows have unit length, and the score is their inner product.
    """

    name: str
    dim: int
    metric: str = "cosine"


@dataclass(frozen=True, slots=True)
class Item:
    """One picture or one text.

    key: unique in its collection. uri: where to find it ("file:///..."), may be empty.
    text: the text itself for kind "text", else empty. stamp: cheap to compute and different
    when the source has changed (size and time of a file). content: hash of the source's
    bytes, equal for a renamed or copied file. meta: flat, JSON values, or lists of texts.
    """

    key: str
    kind: Kind = "image"
    uri: str = ""
    text: str = ""
    stamp: str = ""
    content: str = ""
    meta: Mapping[str, MetaValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """An item and its score: the cosine with the query, higher is better."""

    item: Item
    score: float


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a source has changed since it was stored."""

    stamp: str
    content: str


@dataclass(frozen=True, slots=True)
class AddReport:
    """What one `add` has made durable. seq: the commit's number, growing by one a commit."""

    added: int
    updated: int
    seq: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be stored, with the reason to show to the user."""

    key: str
    uri: str
    reason: str
    stamp: str = ""
