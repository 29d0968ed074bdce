"""The values and the protocols of mmsearch. Items, filters and matches are the store's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy.typing as npt

from index_store.types import Item, Kind, MetaValue, Space, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

    from index_store.where import Where

Array = npt.NDArray[Any]
MinScore = float | Literal["auto"] | None


@runtime_checkable
class Encoder(Protocol):
    """A dual encoder: pictures and texts into one space.

    `image_size` is the side in pixels that `prepare` scales to; a loader may decode a JPEG
    at any size of at least twice that.
    """

    space: Space
    image_size: int

    def prepare(self, image: Image) -> Array:
        """Return one RGB picture as the array that the model eats. CPU only, thread-safe."""
        ...

    def encode_images(self, batch: Array) -> Vectors:
        """Return (n, dim) float32 unit rows for a stack of n prepared pictures."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 unit rows for n texts; overlong texts are cut."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Looks at query and candidate together: slower than an `Encoder`, and more exact.

    name: with the weights' hash. weight: what a unit of its score is worth in the encoder's
    cosines; None: it is not known, and its scores are brought to the spread of the cosines.
    """

    name: str
    weight: float | None

    def score(self, query: Query, items: Sequence[Item]) -> Vectors:
        """Return (n,) float32 for n candidates, higher is better; NaN where it cannot say: a
        picture that does not open, two of a kind that it does not compare."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright, RGB, in sRGB; and what its file says about it.

    meta: width and height (upright, before any draft scaling), format, and what EXIF, IPTC
    and XMP say: the fields of `mmsearch.metadata.FROM_FILE` (docs/filters.md).
    """

    image: Image
    meta: Mapping[str, MetaValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """Something a reader has found, not opened yet.

    item: its content hash and meta may still be incomplete. path: "" for a picture inside another
    file, where item.uri says which part. captions: texts that go with the
    picture; each becomes a text item of its own. A text sample (kind "text") has no picture.
    sidecar: the path of an XMP file beside it that says more about it, or "".
    own: its captions are looked for where the picture itself lies, not in a list of pictures: with
    none here, those that came from there are gone.
    """

    item: Item
    path: str = ""
    captions: tuple[str, ...] = ()
    sidecar: str = ""
    own: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A source that was left out, and why. Trouble with one file is data, not an exception."""

    key: str
    uri: str
    reason: str
    stamp: str = ""


Reader = Callable[[str], Iterator["Sample | Skipped"]]  # listing opens no picture


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a query asks for: a text, a picture, or a stored item by its key.

    weight: how much it counts beside the others; below 0, what is like it is not wanted.
    name: what `Hit.parts` calls it; default: text, image, like, not.
    """

    text: str | None = None
    image: Image | str | None = None
    key: str | None = None
    weight: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: a text, or a picture (its path, or a decoded one); and more `parts`.

    Without parts exactly one of text and image; with parts one or none, which counts as the
    first part. k: hits wanted. kind: what to find. where: filter over the stored metadata.
    weight: of text or image. min_score: what scores less is no hit; "auto", for a text that
    looks for pictures: what does not stand out of the collection's background
    (`mmsearch.cutoff`; no cut-off below 100 pictures).
    """

    text: str | None = None
    image: Image | str | None = None
    k: int = 10
    kind: Kind = "image"
    where: Where | None = None
    parts: tuple[Part, ...] = ()
    weight: float = 1.0
    min_score: MinScore = None

    @property
    def asked(self) -> tuple[Part, ...]:
        """All parts, text or image the first of them."""
        if self.text is None and self.image is None:
            return self.parts
        return (Part(self.text, self.image, weight=self.weight), *self.parts)


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. rank starts at 1; score: higher is better; parts explain the score.

    Of a query of one part the score is the cosine; of texts by a picture, less what they are like
    any picture (`mmsearch.hubness`). Of several parts it is their sum, each counted in deviations
    from the collection's background (`mmsearch.composing`).
    """

    rank: int
    item: Item
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)


__all__ = [
    "Array", "Encoder", "Hit", "Item", "Kind", "MetaValue", "MinScore", "Part", "Picture",
    "Query", "Reader", "Reranker", "Sample", "Skipped", "Space", "Vectors",
]  # fmt: skip
