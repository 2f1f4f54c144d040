"""Whether there is room for more runs: what an organization's queue has, and what its batches were promised.

A guard against floods, as of a moment ago: what is triggered in the same moment is not counted. To be exact, all triggers
of an organization would have to wait for each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sojourn.control_plane.engine.errors import QueueFull
from sojourn.control_plane.engine.indexing import Index
from sojourn.control_plane.store.batches import Batches

#: Seconds that a look is good for: all triggers of a process share it, so that it costs none of them anything.
_PATIENCE = 0.25


class Room:
    """`limit`: runs of an organization, waiting, running and promised, from which on no more are taken; 0: no limit."""

    def __init__(
        self,
        index: Index,
        batches: Batches,
        limit: int,
        patience: float = _PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        self.limit = limit
        self._index = index
        self._batches = batches
        self._patience = patience
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float]] = {}

    def is_full(self, organization: str) -> bool:
        """Whether there are as many as may be."""
        return bool(self.limit) and self._taken(organization) >= self.limit

    def why_full(self, organization: str) -> QueueFull | None:
        """Why there is no room for one run more, as of a moment ago; None where there is."""
        if not self.is_full(organization):
            return None
        return self._full(f"{self.limit} runs wait, run or are still to come with batches, which is the limit")

    def check(self, organization: str, runs: int) -> None:
        """`QueueFull` where so many runs more, asked for together, would be too many, as of now."""
        if self.limit and self._look(organization) + runs > self.limit:
            raise self._full(f"with {runs} runs more, there would be more than {self.limit}, which is the limit")

    def promise(self, organization: str, runs: int) -> None:
        """A batch was admitted: this process's next triggers know at once, other processes' when they look."""
        if organization in self._seen:
            taken, until = self._seen[organization]
            self._seen[organization] = (taken + runs, until)

    def _taken(self, organization: str) -> int:
        taken, until = self._seen.get(organization, (0, None))
        now = self._monotonic()
        if until is not None and now < until:
            return taken
        if until is not None:
            self._seen[organization] = (taken, now + self._patience)  # one looks; the others go by what was seen before
        return self._look(organization)

    def _look(self, organization: str) -> int:
        # The promised ones first: an item that comes in between the two looks is counted twice rather than not at all.
        taken = self._batches.missing(organization) + self._index.size(organization)
        self._seen[organization] = (taken, self._monotonic() + self._patience)
        return taken

    def _full(self, message: str) -> QueueFull:
        return QueueFull(message, next_step="wait until some have run, or raise SOJOURN_QUEUE_SIZE_LIMIT")
