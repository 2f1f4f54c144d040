"""What may be given of what there is: limits, bursts and weights within their ranges. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The least and the most of each.
RANGES: dict[str, tuple[float, float]] = {"concurrency_limit": (0, 100_000), "burst": (1, 100), "weight": (0.01, 100)}
#: As whoever gives them calls them.
_WORDS = {"concurrency_limit": "limit"}


class BadShare(ValueError):
    """A number that is out of its range, or none at all; the message says what it may be."""


def check(changes: Mapping[str, Any]) -> None:
    """`BadShare` unless each number is within its range. What is stored is pushed to the queue of all, so that it is
    looked at before."""
    for name, (least, most) in RANGES.items():
        value = changes.get(name)
        # Written so that what is no number (NaN) is out of every range.
        if value is not None and not least <= value <= most:
            raise BadShare(f"{_WORDS.get(name, name)}: is {least:g} to {most:g}")
