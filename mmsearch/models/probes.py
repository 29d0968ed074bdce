"""Pictures and texts on which an exported model is compared with the one that it came from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch.encoders.checkpoint import read_checkpoint
from mmsearch.errors import BadPicture, BadSource, MissingExtra
from mmsearch.images import open_picture
from mmsearch.photos import PHOTOS, photos_folder
from mmsearch.readers import read
from mmsearch.sources import place_of, source_at
from mmsearch.types import Skipped

MOST = 32  # pictures, and captions
GENERATED = 8
TARGET = 384  # pixels: what is far larger is decoded smaller

# Every kind of text that a tokenizer may stumble over, and lengths from none to too long.
TEXTS = (
    "a dog",
    "Two children are playing with a ball on the beach.",
    "a man in a red jacket rides a bicycle down a steep, snowy mountain while others watch",
    "the photographer's tripod, isn't it?",
    "24 apples & 7 pears @ $3.50",
    "A RED CAR   under\ta bridge",
    "le caf\u00e9 au coin de la rue",
    "le cafe\u0301 au coin de la rue",
    "Ein Stra\u00dfenschild f\u00fcr Fu\u00dfg\u00e4nger",
    "\u4e24\u53ea\u72d7\u5728\u96ea\u5730\u91cc",
    "\u0434\u0432\u0435 \u0441\u043e\u0431\u0430\u043a\u0438",
    "\u201ca dog\u2019s breakfast\u201d \u2014 a painting",
    "a smiling face \U0001f600 on a mug",
    "snake_case and <b>tags</b> &amp; entities",
    "x",
    "",
    "a very long description of a picture of a city at night " * 40,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probes:
    """What to compare on.

    source: where the pictures are from, in words. openers: each gives one picture; it is opened
    when it is used. texts: the captions, and TEXTS.
    """

    source: str
    openers: Sequence[Callable[[], Image.Image]]
    texts: Sequence[str]

    def pictures(self) -> Iterator[Image.Image]:
        """Yield the pictures that can be read."""
        for opener in self.openers:
            try:
                yield opener()
            except (BadPicture, OSError):
                continue


def find_probes(spec: str, source: str | None = None) -> Probes:
    """Return what to compare a model on.

    The pictures of `source`; else the held-out ones that a checkpoint names, where they are still
    there; else the photographs of scikit-image, where it is installed; else generated ones.

    Args:
        spec: of the model, resolved.
        source: as for `mmsearch index`.

    Raises:
        BadSource: the source cannot be read, or has no pictures.
        ModelUnavailable: it is the spec of a checkpoint, and the checkpoint is none.
    """
    if source is not None:
        return _of_source(source)
    name, _, argument = spec.partition(":")
    if name == "checkpoint":
        facts = read_checkpoint(Path(argument).expanduser())
        places = [place for place in facts.get("pictures", []) if _is_there(place)]
        if places:
            return _probes("held out from its training", places, facts.get("texts", []))
    try:
        photos = [str(photos_folder() / name) for name in PHOTOS]
    except MissingExtra:
        photos = []
    if found := [path for path in photos if Path(path).is_file()]:
        return _probes("photographs of scikit-image", found, [])
    return Probes("generated, not photographs", [_generator(i) for i in range(GENERATED)], TEXTS)


def _of_source(source: str) -> Probes:
    found = (s for s in read(source) if not isinstance(s, Skipped) and s.item.kind == "image")
    samples = list(itertools.islice(found, MOST))
    if not samples:
        raise BadSource(f"{source} holds no pictures")
    captions = [caption for sample in samples for caption in sample.captions]
    return _probes(source, [place_of(sample) for sample in samples], captions)


def _probes(source: str, places: Sequence[str], captions: Sequence[str]) -> Probes:
    openers = [_opener(place) for place in places[:MOST]]
    return Probes(source, openers, [*captions[:MOST], *TEXTS])


def _opener(place: str) -> Callable[[], Image.Image]:
    return lambda: open_picture(source_at(place), target=TARGET).image


def _is_there(place: str) -> bool:
    try:
        source = source_at(place)
    except (BadPicture, OSError, ValueError):
        return False
    return isinstance(source, bytes) or Path(source).is_file()


def _generator(seed: int) -> Callable[[], Image.Image]:
    """Return a maker of one picture: soft colours, a few boxes, some grain."""

    def make() -> Image.Image:
        rng = np.random.default_rng(seed)
        width, height = (int(side) for side in rng.integers(120, 500, 2))
        coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(soft).astype(np.float32) + rng.normal(0, 6, (height, width, 3))
        for _ in range(4):
            top, left = rng.integers(0, height - 20), rng.integers(0, width - 20)
            pixels[top : top + height // 4, left : left + width // 4] = rng.integers(0, 256, 3)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return make
