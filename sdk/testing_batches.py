"""Batches in a test: what they are made of is kept here, and runs as soon as it is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sojourn.sdk.testing_clock import Clock
from sojourn.sdk.testing_keys import KeyBook


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

    def shown(self, over: Collection[str] | None, query: Mapping[str, str]) -> dict[str, Any]:
        """As the API shows it, with the runs that the query asks for; `over`: the runs that are, None for all."""
        finished = sum(over is None or run_id in over for run_id in self._runs.values())
        status = "PENDING" if not self.is_whole else "COMPLETED" if finished == self.count else "PROCESSING"
        key = {"idempotencyKey": self.key} if self.key else {}
        dates = {"createdAt": self._at, "updatedAt": self._at}
        common = {"id": self.id, "status": status, "runCount": self.count}
        common["finishedRunCount"] = finished
        return {**common, **key, **dates, "processing": {"errors": []}} | self._page(query)

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """So many runs of those behind a place, and where further ones are."""
        indices = [index for index in sorted(self._runs) if index > int(query.get("after", -1))]
        shown = indices[: int(query.get("limit", len(indices)))]
        following = {"next": str(shown[-1])} if 0 < len(shown) < len(indices) else {}
        return {"runs": [self._runs[index] for index in shown], **following}


class BatchBook:
    """Every batch of a test's platform."""

    def __init__(self, clock: Clock) -> None:
        self._batches: dict[str, Batch] = {}
        self._clock = clock
        self._keys = KeyBook(lambda: clock.now)

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new batch, or the one that its key leads to."""
        key = body.get("idempotencyKey")
        found = self._batches.get(self._keys.find(key) or "")
        cached = found is not None and found.is_whole
        if found is None:
            found = Batch(f"batch_test{len(self._batches) + 1}", body, self._clock.told().isoformat())
            if key:
                self._keys.keep(key, found.id, body)
            self._batches[found.id] = found
        return {"id": found.id, "runCount": found.count, "isCached": cached}

    def of(self, run_id: str) -> list[str]:
        """The batches that a run is in."""
        return [batch.id for batch in self._batches.values() if run_id in batch.runs()]

    def find(self, batch_id: str) -> Batch | None:
        """A batch."""
        return self._batches.get(batch_id)
