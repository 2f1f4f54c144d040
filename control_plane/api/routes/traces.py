"""Where it is told what happened in a run."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.traces import RunEventsReply, SpanReply, TraceReply
from sojourn.control_plane.api.routes.route import Route

_RUN = ("RUN_NOT_FOUND",)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/api/v1/runs/{run}/events",
        "traces.events",
        Caller.ENVIRONMENT,
        "What happened in a run, one after the other: 1000 log lines, 200 waits and 500 runs below it at most",
        RunEventsReply,
        codes=_RUN,
        needs=needs.READ_RUN,
    ),
    Route(
        "GET",
        "/api/v1/runs/{run}/trace",
        "traces.trace",
        Caller.ENVIRONMENT,
        "The same as a tree, down to 100 levels",
        TraceReply,
        codes=_RUN,
        needs=needs.READ_RUN,
    ),
    Route(
        "GET",
        "/api/v1/runs/{run}/spans/{span}",
        "traces.span",
        Caller.ENVIRONMENT,
        "One of these",
        SpanReply,
        codes=(*_RUN, "SPAN_NOT_FOUND"),
        needs=needs.READ_RUN,
    ),
)
