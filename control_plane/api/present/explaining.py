"""What keeps a run from running, as the API shows it."""

from __future__ import annotations

from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.present.statuses import status_word
from sojourn.control_plane.api.present.waits import wait_item
from sojourn.control_plane.domain.explaining import Cause, Reason
from sojourn.control_plane.engine.explaining import Explained


def why(explained: Explained, current: bool) -> dict[str, Any]:
    """What keeps a run."""
    run = explained.run
    return {
        "id": run.id,
        "status": status_word(run.status, current),
        "isWaiting": bool(explained.causes),
        "reasons": [_cause(cause, explained) for cause in explained.causes],
    }


def _cause(cause: Cause, explained: Explained) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "reason": cause.reason,
        "message": cause.message,
        "nextStep": cause.todo,
        "scope": cause.scope,
        "limit": cause.limit,
        "held": cause.held,
        "heldBy": list(cause.holders) if cause.held is not None else None,
        "until": cause.until and timestamp(cause.until),
        "ahead": cause.ahead,
    }
    if cause.reason is Reason.WAITPOINTS:
        wire |= {"need": explained.run.wait_need, "waits": [wait_item(wait) for wait in explained.waits]}
    return given(wire)
