"""The two sets that a run measures itself on, and what it finds there."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsearch.train.measure import Ranks, measure
from mmsearch.train.pairs import Pairs
from mmsearch.train.trainable import Trainable
from mmsearch.train.views import Views


@dataclass(frozen=True, slots=True)
class Measured:
    """The ranks on both sets, and R@k of them."""

    heldout: Ranks
    general: Ranks | None
    k: int

    def scores(self) -> tuple[float, float | None]:
        """Return text->image R@k of both, in per cent."""
        general = None if self.general is None else self.general.hit_rate(self.k)
        return self.heldout.hit_rate(self.k), general

    def __str__(self) -> str:
        heldout, general = self.scores()
        rest = "" if general is None else f", general {general:.1f}"
        return f"text->image R@{self.k} held-out {heldout:.1f}{rest}"


@dataclass(frozen=True, slots=True)
class Sets:
    """What a run is judged by. Views: where the model's picture tower is cut.

    broken: the pictures that did not open, and why, once they were measured on.
    """

    heldout: Pairs
    general: Pairs | None
    k: int
    workers: int
    heldout_views: Views | None = None
    general_views: Views | None = None
    broken: dict[str, str] = field(default_factory=dict)

    def measured(self, model: Trainable) -> Measured:
        """Return the ranks of the model as it is."""

        def ranks(pairs: Pairs, views: Views | None) -> Ranks:
            return measure(model, pairs, workers=self.workers, views=views, broken=self.broken)

        heldout = ranks(self.heldout, self.heldout_views)
        general = None if self.general is None else ranks(self.general, self.general_views)
        return Measured(heldout, general, self.k)
