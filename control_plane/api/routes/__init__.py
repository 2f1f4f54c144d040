"""THE table of the API: every address, who may call it, what goes in and what comes out. All else is made of it."""

from __future__ import annotations

from sojourn.control_plane.api.routes import (
    batches,
    bulk_actions,
    deployments,
    health,
    keys,
    packets,
    projects,
    queues,
    runs,
    schedules,
    tokens,
    traces,
    triggers,
    variables,
    webhooks,
    worker,
)
from sojourn.control_plane.api.routes.route import Route

__all__ = ["ROUTES", "Route"]

_NOUNS = (
    triggers,
    runs,
    traces,
    bulk_actions,
    variables,
    queues,
    packets,
    deployments,
    tokens,
    schedules,
    webhooks,
    batches,
    keys,
    projects,
    health,
    worker,
)

ROUTES: tuple[Route, ...] = tuple(route for noun in _NOUNS for route in noun.ROUTES)
