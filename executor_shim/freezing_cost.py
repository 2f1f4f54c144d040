"""How long freezing a process and thawing it again will take, learned from those that this executor froze.

A wait pays its freezing only if it is longer than that. Of a wait without a date nobody knows how long it is: it is frozen
when it has lasted for as long, so that it never costs more than twice what the best choice would have.
"""

from __future__ import annotations

#: Of a small process, beside other work: freezing, storing, thawing, with all that is asked between (bench/README.md).
_FIXED = 0.5
#: Seconds a byte, until something was measured: about 60 MB a second, there and back.
_RATE = 1 / 60e6
#: Thawing costs about half of what freezing and storing did.
_AND_BACK = 1.5


class FreezingCost:
    """Of one executor. Newer measurements count for more: a store may have become slow."""

    def __init__(self) -> None:
        self._rate = _RATE

    def expected(self, resident: int) -> float:
        """Seconds to freeze and thaw a process tree of so many resident bytes."""
        return _FIXED + self._rate * resident

    def learn(self, seconds: float, resident: int) -> None:
        """Freezing and storing a process tree of so many resident bytes took that long."""
        if resident > 0:
            measured = max(_AND_BACK * seconds - _FIXED, 0.0) / resident
            self._rate = (self._rate + measured) / 2
