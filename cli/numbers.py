"""Numbers on the command line. What is none (`nan`) is neither below nor above any bound, and passes click's own ranges."""

from __future__ import annotations

import math
from typing import Any

import click


class Finite(click.FloatRange):
    """A number, within bounds where there are some; neither `nan` nor `inf`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return float(super().convert(number, param, ctx))

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()
