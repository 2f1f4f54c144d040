"""How many calls somebody may make: so many at once, and so many more as time goes by. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHAPE = re.compile(r"([0-9]{1,9}):([0-9]{1,9})/([0-9]{1,5})")
#: Which part of what it may have at once a process takes for itself, to ask less often.
_PORTIONS = 500
#: Items of a batch that is filled line by line: what is taken of an allowance at a time, at most.
MAX_BATCH_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """`capacity` at once; `refill` more in each `seconds`, evenly."""

    capacity: int
    refill: int
    seconds: int

    @property
    def pace_ms(self) -> float:
        """Ms in which one more comes."""
        return self.seconds * 1000 / self.refill

    @property
    def portion(self) -> int:
        """How many a process takes at a time: 1 where every one counts."""
        return max(self.capacity // _PORTIONS, 1)


def read(text: str) -> Allowance | None:
    """`30000:10000/10` is 30,000 at once and 10,000 in each 10 s; `off` is None. `ValueError` for anything else."""
    if text == "off":
        return None
    found = _SHAPE.fullmatch(text)
    if not found or not all(int(part) for part in found.groups()):
        raise ValueError("write it like 30000:10000/10")
    return Allowance(*(int(part) for part in found.groups()))
