"""Batches in a test: what they are made of is kept here, and runs as soon as it is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any


class Batch:
    """One batch. `parent`: the run that triggers it."""

    def __init__(self, batch_id: str, body: Mapping[str, Any], at: str):
        self.id = batch_id
        self.count: int = body["runCount"]
        self.key: str | None = body.get("idempotencyKey")
        self.parent: str | None = body.get("parentRunId")
        self._at = at
        self._runs: dict[int, str] = {}
        self._accepted = self._repeated = 0

    def fill(self, index: int, start: Callable[[], str]) -> None:
        """Adds an item, unless it is there."""
        if index in self._runs:
            self._repeated += 1
        else:
            self._runs[index] = start()
            self._accepted += 1

    def filled(self) -> dict[str, Any]:
        """What a request with items is answered."""
        told = {
            "id": self.id,
            "itemsAccepted": self._accepted,
            "itemsDeduplicated": self._repeated,
            "sealed": self.is_whole,
        }
        self._accepted = self._repeated = 0
        return told if self.is_whole else {**told, "enqueuedCount": len(self._runs), "expectedCount": self.count}

    @property
    def is_whole(self) -> bool:
        """Whether all items are there."""
        return len(self._runs) == self.count

    def runs(self) -> list[str]:
        """The runs in the order of the items."""
        return [self._runs[index] for index in sorted(self._runs)]

    def shown(self, over: Collection[str] | None = None) -> dict[str, Any]:
        """As the API shows it; `over`: the runs that are, None for all."""
        finished = sum(over is None or run_id in over for run_id in self._runs.values())
        status = "PENDING" if not self.is_whole else "COMPLETED" if finished == self.count else "PROCESSING"
        key = {"idempotencyKey": self.key} if self.key else {}
        dates = {"createdAt": self._at, "updatedAt": self._at}
        common = {"id": self.id, "status": status, "runCount": self.count, "runs": self.runs()}
        common["finishedRunCount"] = finished
        return {**common, **key, **dates, "processing": {"errors": []}}


class BatchBook:
    """Every batch of a test's platform."""

    def __init__(self) -> None:
        self._batches: dict[str, Batch] = {}

    def create(self, body: Mapping[str, Any], at: str) -> dict[str, Any]:
        """A new batch, or the one that its key leads to."""
        key = body.get("idempotencyKey")
        found = next((each for each in self._batches.values() if key and each.key == key), None)
        cached = found is not None and found.is_whole
        if found is None:
            found = Batch(f"batch_test{len(self._batches) + 1}", body, at)
            self._batches[found.id] = found
        return {"id": found.id, "runCount": found.count, "isCached": cached}

    def of(self, run_id: str) -> list[str]:
        """The batches that a run is in."""
        return [batch.id for batch in self._batches.values() if run_id in batch.runs()]

    def find(self, batch_id: str) -> Batch | None:
        """A batch."""
        return self._batches.get(batch_id)
