"""How a run ended, as `on_end` hooks are told."""

from __future__ import annotations

from sojourn.sdk.context import Fields
from sojourn.sdk.protocol import RunStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any


class RunEnd(Fields):
    """The run that has ended. `status`: COMPLETED, FAILED, CRASHED, CANCELED, EXPIRED, TIMED_OUT or SYSTEM_FAILURE.

    `output` where `ok`, else `error` as the API has it, if there was one; `attempts`: how many were begun, 0 for a run that
    never started, whose `started_at` is None.
    """

    id: str
    task: str
    status: str
    attempts: int
    error: Mapping[str, Any] | None
    tags: list[str]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    output: Any

    def __init__(self, told: Mapping[str, Any]):
        super().__init__(told)
        if self.output is not None and told.get("outputType", "application/json") != "text/plain":
            import json

            self.output = json.loads(self.output)

    @property
    def ok(self) -> bool:
        """Whether the task returned."""
        return self.status == RunStatus.COMPLETED
