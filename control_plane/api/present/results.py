"""How runs that are over ended: their results as those who wait are told, their errors as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sojourn.control_plane.api.encoding import given
from sojourn.control_plane.domain import duration
from sojourn.control_plane.domain.failure import internal_error
from sojourn.control_plane.store.records import Run
from sojourn.sdk.protocol import ErrorCode, ErrorKind, RunStatus


def result(run: Run) -> dict[str, Any]:
    """How a run that is over ended; `error` as its executor gave it."""
    wire: dict[str, Any] = {"ok": run.status == RunStatus.COMPLETED, "id": run.id, "taskIdentifier": run.task}
    if wire["ok"]:
        if run.output is not None:
            wire["output"] = run.output
        wire["outputType"] = run.output_type or "application/json"
    else:
        wire["error"] = run.error or _error_of_status(run)
    wire["usage"] = {"durationMs": run.usage_ms}
    return wire


def flat_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """A run's error as `{message, name?, stackTrace?}`."""
    kind = error.get("type")
    if kind == ErrorKind.BUILT_IN_ERROR:
        flat = {"message": error.get("message") or "", "name": error.get("name"), "stackTrace": error.get("stackTrace")}
    elif kind == ErrorKind.INTERNAL_ERROR:
        code = error.get("code") or ErrorCode.UNSPECIFIED_ERROR
        message = error.get("message")
        flat = {
            "message": f"{code}: {message}" if message else str(code),
            "name": code,
            "stackTrace": error.get("stackTrace"),
        }
    else:
        flat = {"message": str(error.get("raw") or "")}
    return given(flat)


def _error_of_status(run: Run) -> dict[str, Any]:
    if run.status == RunStatus.CANCELED:
        return dict(internal_error(ErrorCode.TASK_RUN_CANCELLED, "the run was cancelled"))
    if run.status == RunStatus.EXPIRED:
        waited = f" within {duration.written(run.ttl_seconds)}" if run.ttl_seconds else ""
        return {"type": ErrorKind.STRING_ERROR, "raw": f"the run expired: it was not started{waited}"}
    return dict(internal_error(ErrorCode.CONFIGURED_INCORRECTLY, "the run has no readable error"))
