"""Runs that only wait in their executors' memory, and how many executors may live beside them on one machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sojourn.control_plane.domain.waiting_terms import WaitingTerms

#: Executors whose runs only wait that take no place, for each place: of runs that stay, and that are about to be frozen.
_STAYING, _LEAVING = 8, 1
#: What freezing takes at most, as a rule: a run that has waited for longer than that and its terms stays in memory.
_FREEZING = timedelta(seconds=10)
#: Seconds: what is frozen later than that stays, as far as places are concerned.
_LONGEST = 30.0


@dataclass(frozen=True, slots=True)
class Resting:
    """Of such runs, how many will stay in memory, and how many are about to be frozen.

    Their executors take no place, lest as many runs as there are places wait for children that find none. Of those that
    are about to be frozen few count: in a crowd each would be replaced by the next as soon as it waits, and be frozen
    beside all of them.
    """

    staying: int
    leaving: int

    def places(self, own: int) -> int:
        """How many executors may live where there are `own` places."""
        return own + min(self.staying, _STAYING * own) + min(self.leaving, _LEAVING * own)


def most(own: int) -> int:
    """How many of a kind need be counted."""
    return max(_STAYING, _LEAVING) * own


def patience(terms: WaitingTerms) -> timedelta:
    """How long a run may be about to be frozen; one that waits for longer stays in memory."""
    after = max([terms.after, *(seconds for seconds in terms.environments.values() if seconds is not None)])
    return timedelta(seconds=min(after, _LONGEST)) + _FREEZING if terms.freeze else timedelta(0)
