"""Models that answer questions about a picture, and that describe one; by spec, `name:argument`.

Importing this package costs nothing: a family is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mmsearch.registry import Registry

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.regions import Regions


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says to a question. score: 0 to 1, as sure as the model is; higher is better."""

    text: str
    score: float


class Answerer(Protocol):
    """Answers questions about one picture.

    needs_regions: whether it looks at given regions in place of the picture's pixels.
    """

    needs_regions: bool

    def answer(
        self, image: Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        """Return up to k answers, best first. The picture is upright RGB.

        Raises:
            ModelUnavailable: the model refuses its input: its files do not fit together.
            BadRegions: it needs regions and has none, or they are not this picture's.
        """
        ...


class Captioner(Protocol):
    """Describes pictures."""

    def captions(self, images: Sequence[Image]) -> list[str]:
        """Return a sentence for each picture.

        Raises:
            ModelUnavailable: the model refuses its input: its files do not fit together.
        """
        ...


_EXTRAS = {"torch": "torch", "transformers": "torch", "torchvision": "torch"}

# A factory is called as factory(argument, threads=..., device=...).
ANSWERERS: Registry[Answerer] = Registry(
    "answerer",
    {
        "head": "mmsearch.answering.head:open_head",
        "vilt": "mmsearch.answering.vilt:open_vilt",
        "blip": "mmsearch.answering.blip:open_blip_answerer",
        "lxmert": "mmsearch.answering.lxmert:open_lxmert",
        "vlm": "mmsearch.answering.vlm:open_vlm",
    },
    extras=_EXTRAS,
)
CAPTIONERS: Registry[Captioner] = Registry(
    "captioner",
    {
        "blip": "mmsearch.answering.blip:open_blip_captioner",
        "vlm": "mmsearch.answering.vlm:open_vlm",
    },
    extras=_EXTRAS,
)


def load_answerer(spec: str, *, threads: int | None = None, device: str | None = None) -> Answerer:
    """Return the answerer that `spec` names.

    Args:
        spec: `head:DIR` (of `mmsearch train-answers`); `vilt:DIR`, `blip:DIR`, `lxmert:DIR`,
            `vlm:DIR`, each also with a hub repository ORG/REPO; or what a third party has
            registered.
        threads: CPU threads; None: the cores that this process may use.
        device: "cpu", "cuda", "cuda:1", "mps"; None: the best there is.

    Raises:
        UnknownName: no answerer has that name.
        MissingExtra: it needs an optional part of mmsearch.
        ModelUnavailable: its files are missing, broken, or of another sort; no such device.
    """
    name, _, argument = spec.partition(":")
    return ANSWERERS.make(name)(argument, threads=threads, device=device)


def load_captioner(
    spec: str, *, threads: int | None = None, device: str | None = None
) -> Captioner:
    """Return the captioner that `spec` names: `blip:DIR`, `vlm:DIR`. Arguments as above.

    Raises:
        UnknownName: no captioner has that name.
        MissingExtra: it needs an optional part of mmsearch.
        ModelUnavailable: its files are missing, broken, or of another sort; no such device.
    """
    name, _, argument = spec.partition(":")
    return CAPTIONERS.make(name)(argument, threads=threads, device=device)


__all__ = [
    "ANSWERERS", "CAPTIONERS", "Answer", "Answerer", "Captioner", "load_answerer",
    "load_captioner",
]  # fmt: skip
