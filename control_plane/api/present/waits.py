"""What a run waits for, as the API shows it; and what came of it, as the process that waits is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sojourn.control_plane.api.encoding import given, timestamp
from sojourn.control_plane.api.present.results import result
from sojourn.control_plane.engine.waiting import Done
from sojourn.control_plane.store.records import Wait, Waitpoint

_GONE = {"code": "RUN_NOT_FOUND", "message": "the run was deleted"}


def wait_item(wait: Wait) -> dict[str, Any]:
    """A wait of a run."""
    return given(
        {
            "key": wait.key,
            "attempt": wait.attempt,
            "kind": wait.kind,
            "waitpoint": wait.id,
            "run": wait.run_id,
            "status": status_of_waitpoint(wait),
            "since": timestamp(wait.created_at),
            "until": wait.due_at and timestamp(wait.due_at),
            "doneAt": wait.completed_at and timestamp(wait.completed_at),
        }
    )


def status_of_waitpoint(waitpoint: Waitpoint) -> str:
    """A waitpoint's status in the API's words."""
    if not waitpoint.is_done:
        return "WAITING"
    return "TIMED_OUT" if waitpoint.is_error else "COMPLETED"


def waits_done(done: Sequence[Done]) -> dict[str, Any]:
    """Waits that are over, by their keys, as the process that waits is given them."""
    return {each.key: _wait_done(each) for each in done}


def _wait_done(done: Done) -> dict[str, Any]:
    wait = done.wait
    if wait is None:
        error = {"code": "WAITPOINT_NOT_FOUND", "message": "there is nothing like it to wait for in this environment"}
        return {"ok": False, "error": error}
    common = {"kind": wait.kind, "waitpoint": wait.id}
    if wait.kind == "run":
        return common | (result(done.run) if done.run else {"ok": False, "error": _GONE})
    if wait.is_error:
        return common | {"ok": False, "error": json.loads(wait.output or "{}")}
    told = {"output": wait.output, "outputType": wait.output_type} if wait.output is not None else {}
    return common | {"ok": True, **told}
