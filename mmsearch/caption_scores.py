"""What stored captions say of a question: their cosines with it, and how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from index_store import Collection
from index_store.lexical import Lexicon
from index_store.types import Item, Match, Vectors
from mmsearch.stored_rows import Samples, rows_of

JUDGED = 64  # captions, the best, whose trust is looked at
# Deviations by which captions fit their own pictures better than others: up to LEAST they say
# nothing to this model (another language, "my favourite"), from MOST on they count as pictures do.
LEAST, MOST = 1.0, 2.5


class CaptionScores:
    """The captions of a collection beside one question.

    cosines: the question's with the best caption of each picture that was found by one.
    trust: 0 to 1; with 0 there are no cosines.
    """

    def __init__(
        self, collection: Collection, lexicon: Lexicon, row: Vectors, pool: int,
        picture_of: Callable[[Item], str], samples: Samples,
    ) -> None:  # fmt: skip
        """Ask for the `pool` best captions.

        Args:
            row: (dim,), the question's.
            picture_of: the key of the picture that a text item speaks of, or "".
        """
        self._collection, self._lexicon, self._row = collection, lexicon, row
        (found,) = collection.search(row[None], pool, kind="text")
        of = [(match, picture) for match in found if (picture := picture_of(match.item))]
        self.trust = self._trust(of[:JUDGED], samples["image"])
        self.cosines: dict[str, float] = {}
        for match, picture in of if self.trust else ():
            self.cosines.setdefault(picture, match.score)

    def complete(self, pictures: Iterable[str]) -> dict[str, float]:
        """Return the cosine of the best caption of each of the pictures that has one."""
        if not self.trust:
            return {}
        texts = self._lexicon.texts_of([key for key in pictures if key not in self.cosines])
        rows = rows_of(self._collection, [key for some in texts.values() for key in some])
        others = {
            picture: max((float(rows[key] @ self._row) for key in some if key in rows), default=-1)
            for picture, some in texts.items()
        }
        return self.cosines | {key: cosine for key, cosine in others.items() if cosine > -1}

    def _trust(self, found: Sequence[tuple[Match, str]], sample: Vectors) -> float:
        """Return how far captions and their pictures are alike to the model: the median over the
        captions, in deviations of their cosines with other pictures, from LEAST to MOST."""
        rows = rows_of(self._collection, [picture for _, picture in found])
        rows |= rows_of(self._collection, [match.item.key for match, _ in found])
        pairs = [(rows[m.item.key], rows[p]) for m, p in found if m.item.key in rows and p in rows]
        if not pairs:
            return 0.0
        captions, pictures = (np.stack(side) for side in zip(*pairs, strict=True))
        others = captions @ sample.T
        own = (captions * pictures).sum(1)
        above = (own - others.mean(1)) / np.maximum(others.std(1), 1e-6)
        return float(np.clip((np.median(above) - LEAST) / (MOST - LEAST), 0, 1))
