"""Pauses before a call is sent again."""

from __future__ import annotations

import random
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: the first pause, by how much each is longer, and the longest. `jitters`: up to twice as long, by chance."""

    first: float
    factor: float
    most: float
    jitters: bool = False

    def pauses(self, chance: Callable[[], float] = random.random) -> Iterator[float]:
        """One after the other, without end. `chance`: from 0 to 1."""
        pause = self.first
        while True:
            yield min(pause * (1 + chance()) if self.jitters else pause, self.most)
            pause = min(pause * self.factor, self.most)


#: Of calls, and of items of batches, of which many senders may stand before a server that is just back.
CALLS, ITEMS = Backoff(1.0, 1.6, 30.0), Backoff(1.0, 2.0, 30.0, jitters=True)
