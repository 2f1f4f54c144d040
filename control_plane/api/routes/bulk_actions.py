"""Where many runs are acted on at once."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.bulk_actions import BulkActionBody, BulkActionReply, BulkActionsReply
from sojourn.control_plane.api.models.lists import ListQuery
from sojourn.control_plane.api.models.shape import IdReply, Nothing
from sojourn.control_plane.api.routes.route import MIB, Route

_BULK_ACTION = ("BULK_ACTION_NOT_FOUND",)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/bulk-actions",
        "bulk_actions.create",
        Caller.ENVIRONMENT,
        "Cancel or replay many runs in the background, by a filter or by their ids",
        BulkActionReply,
        body=BulkActionBody,
        limit=MIB,
        codes=("HEADERS_INVALID", "REGION_UNKNOWN", "TOO_MANY_BULK_ACTIONS"),
        statuses=(202,),
        needs=needs.BULK,
    ),
    Route(
        "GET",
        "/api/v1/bulk-actions",
        "bulk_actions.page",
        Caller.ENVIRONMENT,
        "List bulk actions, newest first",
        BulkActionsReply,
        query=ListQuery,
        codes=("CURSOR_INVALID",),
        needs=needs.LIST_BULK,
    ),
    Route(
        "GET",
        "/api/v1/bulk-actions/{action}",
        "bulk_actions.retrieve",
        Caller.ENVIRONMENT,
        "How far a bulk action has come",
        BulkActionReply,
        codes=_BULK_ACTION,
        needs=needs.LIST_BULK,
    ),
    Route(
        "POST",
        "/api/v1/bulk-actions/{action}/abort",
        "bulk_actions.abort",
        Caller.ENVIRONMENT,
        "Begin no run any more; those that were acted on stay so",
        IdReply,
        body=Nothing,
        codes=(*_BULK_ACTION, "BULK_ACTION_OVER"),
        needs=needs.BULK,
    ),
)
