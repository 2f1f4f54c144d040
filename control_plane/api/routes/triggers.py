"""Where tasks are triggered."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.triggers import MAX_TRIGGER_BYTES, TriggerBody, TriggeredReply
from sojourn.control_plane.api.routes.route import Route

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/tasks/{task}/trigger",
        "tasks.trigger",
        Caller.ENVIRONMENT,
        "Trigger a task",
        TriggeredReply,
        body=TriggerBody,
        limit=MAX_TRIGGER_BYTES,
        codes=(
            "PARAMS_INVALID",
            "HEADERS_INVALID",
            "METADATA_TOO_LARGE",
            "TOO_MANY_TAGS",
            "PAYLOAD_TYPE_UNSUPPORTED",
            "PACKET_NOT_FOUND",
            "PACKETS_UNAVAILABLE",
            "OPTION_UNSUPPORTED",
            "VERSION_NOT_FOUND",
            "REGION_UNKNOWN",
            "PARENT_IS_OVER",
            "QUEUE_FULL",
            "ENGINE_ERROR",
        ),
        needs=needs.TRIGGER,
    ),
)
