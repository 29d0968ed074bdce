"""How well a model under training finds what belongs together: ranks, and figures from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mmsearch.errors import BadSource
from mmsearch.pipeline import batched
from mmsearch.train.figures import figures, first_ranks
from mmsearch.train.loading import pictures
from mmsearch.train.pairs import Ids, Pairs
from mmsearch.train.trainable import Trainable
from mmsearch.train.views import Views

QUERIES_AT_ONCE = 512
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ranks:
    """For each query the 1-based rank of its best relevant candidate; ties count against it.

    text_to_image: (m,), image_to_text: (n,). owner: (m,), the picture of each text.
    """

    text_to_image: Ids
    image_to_text: Ids
    owner: Ids

    def figures(self) -> dict[str, dict[str, float]]:
        """Return R@1, R@5, R@10 in per cent (the CLIP papers' hit rate), and the median rank."""
        return {
            "text_to_image": figures(self.text_to_image),
            "image_to_text": figures(self.image_to_text),
        }

    def hit_rate(self, k: int) -> float:
        """Return text->image R@k in per cent, unrounded."""
        return float((self.text_to_image <= k).mean()) * 100


def features(
    model: Trainable,
    pairs: Pairs,
    *,
    workers: int,
    views: Views | None = None,
    size: int = 32,
    broken: dict[str, str] | None = None,
) -> tuple[Rows, Rows]:
    """Return (n, dim) rows of the pictures and (m, dim) of their texts, in eval mode.

    views: of these pictures, where the model's picture tower is cut.

    A picture that does not open has a row of zeros: it is never found, which is the truth. Its
    path and the reason are put into `broken`.

    Raises:
        BadSource: none opens.
    """
    was = [part for part in model.module.modules() if part.training]
    model.module.eval()
    device = next(model.module.parameters()).device
    images: Rows | None = None
    with torch.no_grad():
        found = (
            pictures(pairs, model.dual, size=size, workers=workers, broken=broken)
            if views is None
            else views.parts(size)
        )
        if views is not None and broken is not None:
            broken.update(views.closed(pairs))
        for rows, pixels in found:
            made = model.encode_images(pixels.to(device)).cpu().numpy()
            if images is None:
                images = np.zeros((len(pairs), made.shape[1]), np.float32)
            images[rows] = made
        texts = encode_all(model, pairs.texts)
    for part in was:
        part.training = True
    if images is None:
        raise BadSource(f"no picture opens, the first is {pairs.rows[0].path}")
    return images, texts


def encode_all(model: Trainable, texts: list[str], size: int = 4096) -> Rows:
    """Return (m, dim) of any number of texts."""
    parts = [model.encode_texts(part).cpu().numpy() for part in batched(texts, size)]
    return np.concatenate(parts)


def ranks_of(images: Rows, texts: Rows, pairs: Pairs) -> Ranks:
    """Return the ranks of both directions; pictures of one group count as one another's.

    Args:
        images: (n, dim) unit rows.
        texts: (m, dim) unit rows, in the order of `pairs.texts`.
        pairs: the pictures, their texts and groups.
    """
    images, texts = (np.nan_to_num(rows, nan=0.0) for rows in (images, texts))
    owner = pairs.owner
    text_groups = pairs.groups[owner]
    return Ranks(
        _ranks(texts, images, text_groups, pairs.groups),
        _ranks(images, texts, pairs.groups, text_groups),
        owner,
    )


def _ranks(queries: Rows, candidates: Rows, mine: Ids, theirs: Ids) -> Ids:
    parts = []
    for i in range(0, len(queries), QUERIES_AT_ONCE):
        scores = queries[i : i + QUERIES_AT_ONCE] @ candidates.T
        relevant = mine[i : i + QUERIES_AT_ONCE, None] == theirs[None, :]
        parts.append(first_ranks(scores, relevant))
    return np.concatenate(parts)


def measure(
    model: Trainable,
    pairs: Pairs,
    *,
    workers: int,
    views: Views | None = None,
    broken: dict[str, str] | None = None,
) -> Ranks:
    """Return the ranks of a model over pairs, from the files (or the views) to the ranks."""
    rows = features(model, pairs, workers=workers, views=views, broken=broken)
    return ranks_of(*rows, pairs)
