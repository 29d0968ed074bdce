"""Pictures described, and what was written kept as texts that can be searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from index_store import Collection
from mmsearch.answering import Captioner
from mmsearch.errors import BadPicture, BadSource
from mmsearch.images import open_picture
from mmsearch.pipeline import batched
from mmsearch.sources import open_source
from mmsearch.types import Encoder, Item, Sample, Skipped
from mmsearch.uris import path_of

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 8
# A caption's key begins as those of the captions that came with a picture: what forgets a
# picture forgets all of them.
MARK = "#caption-model"


@dataclass(frozen=True, slots=True)
class Described:
    """A picture and its caption; or why it has none. name: its path or key."""

    item: Item
    caption: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        return path_of(self.item.uri) if self.item.uri.startswith("file:") else self.item.key


def describe(captioner: Captioner, items: Iterable[Item]) -> Iterator[list[Described]]:
    """Yield the captions of pictures, some at a time, in the order given.

    A picture that cannot be opened is reported and the others are described.

    Raises:
        ModelUnavailable: the model refuses its input.
    """
    for group in batched(items, BATCH):
        opened = [_opened(item) for item in group]
        images = [one for one in opened if not isinstance(one, str)]
        captions = iter(captioner.captions(images) if images else ())
        yield [
            Described(item, reason=one) if isinstance(one, str) else Described(item, next(captions))
            for item, one in zip(group, opened, strict=True)
        ]


def save(
    collection: Collection, encoder: Encoder, described: Sequence[Described], model: str
) -> int:
    """Store captions as texts beside their pictures, in one transaction; return how many.

    An earlier caption by a model is replaced. Empty captions are left out.

    Args:
        collection: that holds the pictures.
        encoder: of its vectors.
        described: from `describe`.
        model: recorded under the texts' meta `captioned_by`.

    Raises:
        SpaceMismatch: the collection holds vectors of another encoder.
        StoreFull, WriteFailed, StoreReadOnly: nothing of this call was stored.
    """
    texts = [
        Item(
            f"{one.item.key}{MARK}", "text", one.item.uri, one.caption,
            meta={"picture": one.item.key, "captioned_by": model},
        )
        for one in described
        if one.caption
    ]  # fmt: skip
    if texts:
        vectors = encoder.encode_texts([text.text for text in texts])
        collection.add(texts, vectors, space=encoder.space)
    return len(texts)


def without_caption(collection: Collection, items: Iterable[Item], model: str) -> Iterator[Item]:
    """Yield the pictures that this model has not described yet."""
    for group in batched(items, 500):
        texts = collection.get([f"{item.key}{MARK}" for item in group])
        done = {t.meta.get("picture") for t in texts if t.meta.get("captioned_by") == model}
        yield from (item for item in group if item.key not in done)


def judge_captions(
    samples: Sequence[Sample | Skipped], captioner: Captioner, *,
    progress: Callable[[str, int, int], object],
) -> dict[str, Any]:  # fmt: skip
    """Return the figures of a captioner over pictures with captions, as JSON has them.

    Args:
        samples: pictures; those without captions are passed over, and what the reader has
            skipped is reported with the pictures that do not open.
        captioner: from `load_captioner`.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        BadSource: no picture with a caption can be opened.
        MissingExtra: sacrebleu or pycocoevalcap is not installed.
        ModelUnavailable: the model refuses its input.
    """
    from mmsearch.caption_metrics import caption_figures

    right = {s.item.key: s.captions for s in samples if isinstance(s, Sample) and s.captions}
    chosen = [s.item for s in samples if isinstance(s, Sample) and s.item.key in right]
    skipped = [s for s in samples if isinstance(s, Skipped)]
    found: list[Described] = []
    for group in describe(captioner, chosen):
        found += group
        progress("pictures", len(found), len(chosen))
    written = [one for one in found if not one.reason]
    skipped += [Skipped(d.item.key, d.item.uri, d.reason) for d in found if d.reason]
    if not written:
        raise BadSource("no picture with a caption can be opened")
    return {
        "schema": 1,
        "pictures": len(written),
        "figures": caption_figures(
            [one.caption for one in written], [right[one.item.key] for one in written]
        ),
        "skipped": [{"key": s.key, "reason": s.reason} for s in skipped],
    }


def _opened(item: Item) -> Image | str:
    """Return a picture, or the reason why it cannot be opened."""
    try:
        return open_picture(open_source(item.uri)).image
    except (BadPicture, ValueError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
