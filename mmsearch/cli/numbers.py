"""Numbers as options take them."""

from __future__ import annotations

import math
from typing import Any

import click


class Between(click.FloatRange):
    """A float between bounds, where nan is refused: it compares with no bound."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:  # fmt: skip
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number
