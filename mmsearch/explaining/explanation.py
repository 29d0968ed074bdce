"""One picture explained: a heat-map of the whole text, and one of each of its phrases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsearch.errors import BadPicture, BadQuery
from mmsearch.explaining.heatmap import Heatmap, heatmaps
from mmsearch.explaining.phrases import phrases
from mmsearch.images import open_picture
from mmsearch.sources import open_source
from mmsearch.types import Encoder, Hit, Picture
from mmsearch.uris import path_of, printable

if TYPE_CHECKING:
    from PIL.Image import Image

SHARPEST = 1024  # a picture is opened at about this many pixels a side, at least


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a picture matched.

    name: its path or key. rank: among the hits; 0 for a file that was named. size: width and
    height of the file's picture, of which `image` may be a smaller copy. heatmaps: of the whole
    text first, then of each of its phrases, if there is more than one.
    """

    name: str
    rank: int
    size: tuple[int, int]
    image: Image
    heatmaps: tuple[Heatmap, ...]


@dataclass(frozen=True, slots=True)
class Unopened:
    """A hit whose picture cannot be looked at, and why."""

    name: str
    reason: str


def explain_file(encoder: Encoder, text: str, path: str) -> Explanation:
    """Return where the picture of a file fits a text.

    Raises:
        BadQuery: the text is empty, or the picture cannot be read.
    """
    check_text(text)
    try:
        picture = open_picture(path, target=SHARPEST)
    except BadPicture as error:
        raise BadQuery(f"cannot explain {printable(path)}: {error}") from error
    return _explained(encoder, text, path, 0, picture)


def explain_hits(
    encoder: Encoder, text: str, hits: Iterable[Hit]
) -> Iterator[Explanation | Unopened]:
    """Yield each hit explained, in the order given.

    Raises:
        BadQuery: the text is empty.
    """
    check_text(text)
    for hit in hits:
        uri = hit.item.uri
        name = path_of(uri) if uri.startswith("file:") and "#" not in uri else hit.item.key
        try:
            picture = open_picture(open_source(uri), target=SHARPEST)
        except (BadPicture, ValueError) as error:
            yield Unopened(name, str(error))
        except OSError as error:
            yield Unopened(name, error.strerror or str(error))
        else:
            yield _explained(encoder, text, name, hit.rank, picture)


def check_text(text: str) -> None:
    """Raise BadQuery if there is nothing in the text."""
    if not text.strip():
        raise BadQuery("the text is empty: say what to look for in the picture")


def _explained(encoder: Encoder, text: str, name: str, rank: int, picture: Picture) -> Explanation:
    parts = phrases(text)
    texts = [text, *parts] if len(parts) > 1 else [text]
    size = int(str(picture.meta["width"])), int(str(picture.meta["height"]))
    maps = heatmaps(encoder, picture.image, texts)
    return Explanation(name, rank, size, picture.image, tuple(maps))
