"""Runs that are to be parents: who hangs a run below another sees that one's tags and metadata, and is in its tree."""

from __future__ import annotations

from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.needs import WRITE_RUN, Asked
from sojourn.control_plane.api.visitor import needs_scope


def require_parent(call: Call, run_id: str | None) -> None:
    """`Problem` 403 unless the caller may write to the run. One that is not there will be nobody's parent."""
    visitor = call.visitor
    if run_id is None or visitor is None or visitor.scopes is None:
        return
    run = call.find_run(run_id)
    if run is None:
        return
    asked = Asked("write", {"run": run_id}, None, None, visitor.scopes, lambda _: run)
    if not WRITE_RUN.allows(asked, lambda resource: visitor.may("write", resource)):
        raise needs_scope(f"write:runs:{run_id}")
