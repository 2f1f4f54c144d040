"""What the API tells of a batch, as apps see it."""

from __future__ import annotations

from sojourn.sdk.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from datetime import datetime
    from typing import Any


class BatchState(Value):
    """A batch as it stands: `status` is PENDING, PROCESSING, PARTIAL_FAILED, COMPLETED or ABORTED; dates are aware.

    `runs`: the ids of its runs, in the order of the items; `finished_count` of them are over. `errors`: the items that
    could not be triggered, as the API has them: `{index, taskIdentifier, error, errorCode}`; their runs have failed.
    """

    __slots__ = (
        "completed_at", "created_at", "errors", "finished_count", "id", "idempotency_key", "raw", "run_count", "runs",
        "status", "updated_at",
    )  # fmt: skip
    id: str
    status: str
    run_count: int
    finished_count: int
    runs: tuple[str, ...]
    errors: tuple[Mapping[str, Any], ...]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    idempotency_key: str | None
    raw: Mapping[str, Any]

    def __init__(self, wire: Mapping[str, Any]):
        """From the API's BatchReply; `raw` keeps what has no field here."""
        from datetime import datetime

        completed = wire.get("completedAt")
        self._keep(
            wire["id"], wire["status"], wire["runCount"], wire.get("finishedRunCount", 0), tuple(wire["runs"]),
            tuple(wire.get("processing", {}).get("errors", ())),
            datetime.fromisoformat(wire["createdAt"]), datetime.fromisoformat(wire["updatedAt"]),
            datetime.fromisoformat(completed) if completed else None, wire.get("idempotencyKey"), wire,
        )  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Whether nothing is to come: every run is over, or the batch was given up."""
        return self.status in ("COMPLETED", "ABORTED")

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return type(self), (self.raw,)

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, None, BatchState]: ...
