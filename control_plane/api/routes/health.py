"""Where the page is, and whether all is well."""

from __future__ import annotations

from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.health import LiveReply, ReadyReply
from sojourn.control_plane.api.routes.route import Route

ROUTES: tuple[Route, ...] = (
    Route("GET", "/api/openapi.json", "page.openapi", Caller.ANYONE, "This page, for programs", None),
    Route("GET", "/healthz", "health.live", Caller.ANYONE, "Whether the process answers", LiveReply),
    Route(
        "GET",
        "/readyz",
        "health.ready",
        Caller.ANYONE,
        "Whether every part can be reached",
        ReadyReply,
        codes=("UNAVAILABLE",),
    ),
)
