"""How many items an environment's batches may have in a time: counted when a batch is made, for all of its items."""

from __future__ import annotations

from datetime import datetime

from sojourn.control_plane.domain.allowance import Allowance
from sojourn.control_plane.engine.errors import BatchRateReached
from sojourn.control_plane.queue.call_buckets import CallBuckets


class BatchRate:
    """`allowance`: None is no limit."""

    def __init__(self, buckets: CallBuckets, allowance: Allowance | None):
        self._buckets = buckets
        self._allowance = allowance

    def spend(self, environment_id: str, items: int, now: datetime) -> None:
        """Counts a new batch. `BatchRateReached` if it has to come later; then nothing of it is counted."""
        allowance = self._allowance
        taken = self._buckets.take_all(f"batches:{environment_id}", allowance, items) if allowance is not None else None
        if allowance is not None and taken is not None and not taken.allowed:
            raise BatchRateReached(allowance, taken.remaining, int(now.timestamp() * 1000) + taken.wait_ms, taken.wait_ms)

    def give_back(self, environment_id: str, items: int) -> None:
        """For a batch that was counted, and is none."""
        if self._allowance is not None:
            self._buckets.give_back(f"batches:{environment_id}", self._allowance, items)
