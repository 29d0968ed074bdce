"""What stored captions say of a question: their cosines with it, and how far to trust them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from index_store import Collection
from index_store.lexical import Lexicon
from index_store.types import Item, Match, Vectors
from mmsearch.hubness import Hubs
from mmsearch.stored_rows import Samples, rows_of

JUDGED = 64  # captions, the best, whose trust is looked at
# Deviations by which captions fit their own pictures better than others: up to LEAST they say
# nothing to this model (another language, "my favourite"), from MOST on they count as pictures do.
LEAST, MOST = 1.0, 2.5


class CaptionScores:
    """The captions of a collection beside one question.

    cosines: the question's with the best caption of each picture that was found by one. off: the
    hubness of that caption, which goes off its cosine. trust: 0 to 1; with 0 there are neither.
    """

    def __init__(
        self, collection: Collection, lexicon: Lexicon, row: Vectors, pool: int,
        picture_of: Callable[[Item], str], samples: Samples, hubs: Hubs,
    ) -> None:  # fmt: skip
        """Ask for the `pool` best captions.

        Args:
            row: (dim,), the question's.
            picture_of: the key of the picture that a text item speaks of, or "".
        """
        self._collection, self._lexicon, self._row, self._hubs = collection, lexicon, row, hubs
        (found,) = collection.search(row[None], pool, kind="text")
        of = [(match, picture) for match in found if (picture := picture_of(match.item))]
        self.trust = self._trust(of[:JUDGED], samples["image"])
        self.cosines: dict[str, float] = {}
        self.off: dict[str, float] = {}
        if self.trust:
            self._take({match.item.key: picture for match, picture in of})

    def complete(self, pictures: Iterable[str]) -> None:
        """Look for captions of those of the pictures, too, that were not found by one."""
        if self.trust:
            texts = self._lexicon.texts_of([key for key in pictures if key not in self.cosines])
            self._take({key: picture for picture, keys in texts.items() for key in keys})

    def _take(self, pictures: Mapping[str, str]) -> None:
        """Take captions, by their keys, for their pictures, of each the best."""
        rows = rows_of(self._collection, [*pictures])
        off = self._hubs.off("text", rows)
        cosines = {key: float(row @ self._row) for key, row in rows.items()}
        for key in sorted(rows, key=lambda key: off[key] - cosines[key]):
            if pictures[key] not in self.cosines:
                self.cosines[pictures[key]], self.off[pictures[key]] = cosines[key], off[key]

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
